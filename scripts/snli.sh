#!/usr/bin/env bash
# Train and evaluate a model of natural language inference on SNLI.
#
#   bash scripts/snli.sh RAW_DIR [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                        [--vectors FILE] [-- fairseq-train options]
#
# RAW_DIR        train.tsv, valid.tsv and, where there is one, test.tsv, which is evaluated at the end:
#                on each line a label, a premise and a hypothesis, separated by tabs
# --model MODEL  the cell: lrn (default), olrn, lstm, gru, sru or atr
# --seed N       random seed (default: 1)
# --updates N    length of the training run (default: 2500)
# --dir DIR      where everything is written (default: snli/ in the checkout); each model and seed has its
#                own directory, DIR/MODEL-SEED
# --vectors FILE GloVe vectors of width 100 (default: *.100d*.txt or .txt.gz in RAW_DIR or in
#                RAW_DIR/../glove)
#
# The last lines are "valid accuracy X" and, with test.tsv, "test accuracy Y". A second run reuses
# existing files and resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/labelled_text.sh"
need_environment

parse_labelled snli 2500 tsv "" "$@"
echo "snli: prepare"
prepare_labelled tsv --kind pair
run_labelled snli accuracy tsv
