#!/usr/bin/env bash
# Compare recurrent cells as in the paper, at a small scale: for each cell, train, translate and score the
# model lrn_rnmt on Multi30k English-German, with equal sizes and the same recipe. Then time training and
# decoding of the trained models in turns, and write a table (cells.md) and a plot (cells.png).
#
#   bash scripts/compare_cells.sh [RAW_DIR] [--cells "CELL ..."] [--seed N] [--train-only]
#                                 [--rounds N] [--dir DIR] [-- fairseq-train options]
#
# RAW_DIR      raw text, as for multi30k.sh; without it, the files are downloaded.
# --cells      the cells to compare (default: "lrn olrn atr sru gru lstm")
# --seed N     random seed (default: 1)
# --train-only skip the timing, so that several cells can be trained at the same time
# --rounds N   turns of each model in the timing (default: 3)
# --dir DIR    where everything is written (default: compare_cells/ in the checkout); each cell and seed
#              has its own directory, DIR/CELL-SEED
#
# A second run reuses existing files and resumes interrupted training runs. The plot needs matplotlib
# (bash scripts/setup.sh benchmark).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment

raw='' directory=$ROOT/compare_cells cells="lrn olrn atr sru gru lstm"
known=$cells
seed=1 measure=1 rounds=3 options=()
while [ $# -gt 0 ]; do
  case $1 in
    --dir) need_value "$@" && directory=$2 && shift ;;
    --cells) need_value "$@" && cells=$2 && shift ;;
    --seed) need_value "$@" && seed=$2 && shift ;;
    --train-only) measure=0 ;;
    --rounds) need_value "$@" && rounds=$2 && shift ;;
    --) shift && options=("$@") && break ;;
    -*) fail "unknown option $1; put fairseq-train options after --" ;;
    *) raw=$1 ;;
  esac
  shift
done
for cell in $cells; do
  [[ " $known " == *" $cell "* ]] || fail "--cells must be some of $known, not $cell"
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "--rounds must be a number above 0, not $rounds"
[[ $seed =~ ^[0-9]+$ ]] || fail "--seed must be a number, not $seed"
refuse --seed "is part of the run's name: give it before --"
refuse_fixed_options
[ "$measure" = 0 ] || python -c 'import matplotlib' 2>/dev/null ||
  fail "the plot needs matplotlib: bash scripts/setup.sh benchmark, or give --train-only"
mkdir -p "$directory"
prepare_multi30k "$directory" "$raw" --vocab-size 6000 --tokenizer moses
data=$directory/data-bin

for cell in $cells; do
  run=$directory/$cell-$seed
  # The paper's recipe, except that learning rate, its decay and dropout suit a small corpus and model.
  train_once "$cell, seed $seed" "$run" "$data" "" --source-lang en --target-lang de --arch lrn_rnmt \
    --cell "$cell" --embed-dim 128 --hidden-size 128 --encoder-layers 2 --decoder-layers 2 \
    --attention-heads 4 --share-all-embeddings --dropout 0.2 \
    --optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-9 --clip-norm 5.0 \
    --lr 0.001 --lr-scheduler gnmt_plus --warmup-updates 75 \
    --lr-decay-start 2700 --lr-decay-end 5400 \
    --criterion sentence_label_smoothed_cross_entropy --label-smoothing 0.1 \
    --max-tokens 4096 --max-epoch 10 --seed "$seed" --log-interval 50 --keep-last-epochs 5 \
    "${options[@]}"
  average_run "$run/checkpoints" --last 5
  echo "$cell: generate test_2016_flickr (beam 4, the paper's length penalty)"
  generate "$run" "$data" "$averaged" test \
    --length-penalty gnmt --beam 4 --lenpen 0.6
  fairseq-lrn score "$run/generate-test.txt" "$raw/test_2016_flickr.de" -lc |
    tee "$run/score-test.txt"
done

if [ "$measure" = 1 ]; then
  # shellcheck disable=SC2086  # $cells is a list of words
  python "$ROOT/scripts/compare_cells.py" "$directory" --cells $cells --seed "$seed" --rounds "$rounds"
fi
