#!/usr/bin/env bash
# The paper's comparison of cells, small: the architecture lrn_rnmt with each cell, equal sizes and
# recipe, on Multi30k English-German. Trains, translates and scores each, then measures training
# and decoding of the trained models in turns. Writes a table (cells.md) and a plot (cells.png).
#
#   bash scripts/compare_cells.sh [RAW_DIR] [--dir DIR] [--cells "lrn gru ..."] [--train-only]
#                                 [--rounds N] [-- OPTIONS OF fairseq-train]
#
# RAW_DIR has {train,val,test_2016_flickr}.{en,de}; without it the files are downloaded.
# Everything goes to DIR (default: compare_cells/ in the checkout). Running it again reuses what
# is there and continues training that was interrupted. --train-only leaves out the measuring, so
# that different cells can be trained at the same time. Needs matplotlib (bash scripts/setup.sh
# benchmark).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment

raw='' directory=$ROOT/compare_cells cells="lrn olrn atr sru gru lstm" measure=1 rounds=3
while [ $# -gt 0 ]; do
  case $1 in
    --dir) directory=${2:?--dir needs a directory} && shift ;;
    --cells) cells=${2:?--cells needs names} && shift ;;
    --train-only) measure=0 ;;
    --rounds) rounds=${2:?--rounds needs a number} && shift ;;
    --) shift && break ;;
    -*) fail "unknown option $1; options of fairseq-train go behind --" ;;
    *) raw=$1 ;;
  esac
  shift
done
[ "$measure" = 0 ] || python -c 'import matplotlib' 2>/dev/null ||
  fail "the plot needs matplotlib: bash scripts/setup.sh benchmark, or give --train-only"
mkdir -p "$directory"
prepare_multi30k "$directory" "$raw" --vocab-size 6000
data=$directory/data-bin

for cell in $cells; do
  checkpoints=$directory/$cell/checkpoints
  mkdir -p "$checkpoints"
  echo "$cell: train"
  # The paper's recipe; rate, its decay and dropout for a small corpus and model.
  train "$directory/$cell" "$data" --source-lang en --target-lang de --arch lrn_rnmt \
    --cell "$cell" --embed-dim 128 --hidden-size 128 --encoder-layers 2 --decoder-layers 2 \
    --attention-heads 4 --share-all-embeddings --dropout 0.2 \
    --optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-9 --clip-norm 5.0 \
    --lr 0.001 --lr-scheduler gnmt_plus --warmup-updates 75 \
    --lr-decay-start 2700 --lr-decay-end 5400 \
    --criterion sentence_label_smoothed_cross_entropy --label-smoothing 0.1 \
    --max-tokens 4096 --max-epoch 10 --seed 1 --log-interval 50 --keep-last-epochs 5 "$@"
  average_last "$checkpoints" 5
  echo "$cell: generate test_2016_flickr (beam 4, the paper's length penalty)"
  generate "$directory/$cell" "$data" "$checkpoints/averaged.pt" test \
    --length-penalty gnmt --beam 4 --lenpen 0.6
  fairseq-lrn score "$directory/$cell/generate-test.txt" \
    "$raw/test_2016_flickr.de" -lc | tee "$directory/$cell/score.txt"
done

if [ "$measure" = 1 ]; then
  # shellcheck disable=SC2086  # a list of words
  python "$ROOT/scripts/compare_cells.py" "$directory" --cells $cells --rounds "$rounds"
fi
