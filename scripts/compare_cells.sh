#!/usr/bin/env bash
# Compare recurrent cells as in the paper, at a small scale: for each cell, train, translate and score the
# model lrn_rnmt on Multi30k English-German, with equal sizes and the same recipe. The length penalty is
# chosen for each model by BLEU on the validation set. Then time training and decoding of the trained
# models in turns, and write a table (cells-SEED.md) and, with gru, a plot (cells-SEED.png).
#
#   bash scripts/compare_cells.sh [RAW_DIR] [--cells "CELL ..."] [--seed N] [--epochs N] [--train-only]
#                                 [--rounds N] [--dir DIR] [-- fairseq-train options]
#
# RAW_DIR      raw text, as for multi30k.sh; without it, the files are downloaded.
# --cells      the cells to compare (default: "lrn olrn atr sru gru lstm")
# --seed N     random seed (default: 1)
# --epochs N   length of the training run (default: 30); the learning rate decays accordingly
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

directory=$ROOT/compare_cells cells=$CELLS seed=1 epochs=30 rounds=3 train_only=
parse_arguments "" "--cells --seed --epochs --rounds" --train-only "$@"
for cell in $cells; do
  need_name --cells "$cell" "$CELLS"
done
[ -n "$train_only" ] || [[ " $cells " != *" gru "* ]] || python -c 'import matplotlib' 2>/dev/null ||
  fail "the plot needs matplotlib: bash scripts/setup.sh benchmark, or give --train-only"
prepare_multi30k --vocab-size 6000 --tokenizer moses
data=$directory/data-bin

SEARCH=(--length-penalty gnmt --beam 4) # the paper's
LENGTH_PENALTIES="0.6 1 1.4"            # the paper's is 0.6

# Translates the validation set with each length penalty. Sets lenpen to the one with the highest BLEU,
# whose translations stay in generate-valid.txt.
choose_length_penalty() { # cell, run's directory
  local candidate bleu best=-1 output=$2/generate-valid.txt
  for candidate in $LENGTH_PENALTIES; do
    generate "$2" "$data" "$averaged" valid "${SEARCH[@]}" --lenpen "$candidate"
    bleu=$(sed -nE 's/.* BLEU4 = ([0-9.]+),.*/\1/p' "$output" | tail -n 1)
    echo "$1: valid bleu $bleu with --lenpen $candidate"
    if awk "BEGIN { exit !($bleu > $best) }"; then
      best=$bleu lenpen=$candidate
      mv "$output" "$output.best"
    fi
  done
  mv "$output.best" "$output"
}

for cell in $cells; do
  run=$directory/$cell-$seed
  # The paper's recipe, except that learning rate, its decay and dropout suit a small corpus and model.
  train_once "$cell, seed $seed" "$run" "$data" "" --source-lang en --target-lang de --arch lrn_rnmt \
    --cell "$cell" --embed-dim 128 --hidden-size 128 --encoder-layers 2 --decoder-layers 2 \
    --attention-heads 4 --share-all-embeddings --dropout 0.2 \
    --optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-9 --clip-norm 5.0 \
    --lr 0.001 --lr-scheduler gnmt_plus --warmup-updates 75 \
    --lr-decay-start $((270 * epochs)) --lr-decay-end $((540 * epochs)) \
    --criterion sentence_label_smoothed_cross_entropy --label-smoothing 0.1 \
    --max-tokens 4096 --max-epoch "$epochs" --seed "$seed" --log-interval 50 --keep-last-epochs 5 \
    "${options[@]}"
  average_run "$run/checkpoints" --last 5
  choose_length_penalty "$cell" "$run"
  echo "$cell: generate test_2016_flickr (beam 4)"
  generate "$run" "$data" "$averaged" test "${SEARCH[@]}" --lenpen "$lenpen"
  fairseq-lrn score "$run/generate-test.txt" "$raw/test_2016_flickr.de" -lc |
    tee "$run/score-test.txt"
done

if [ -z "$train_only" ]; then
  # shellcheck disable=SC2086  # $cells is a list of words
  python "$ROOT/scripts/compare_cells.py" "$directory" --cells $cells --seed "$seed" --rounds "$rounds"
fi
