#!/usr/bin/env bash
# Train and evaluate a language model of WikiText-2.
#
#   bash scripts/wikitext2.sh RAW_DIR [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                       [-- fairseq-train options]
#
# RAW_DIR       train.txt, valid.txt and, where there is one, test.txt, which is evaluated at the end
# --model MODEL lrn (default); paper, the authors' model and training; the cells lstm, gru, sru and
#               atr in the model of lrn; or fairseq's lstm_lm and transformer_lm
# --seed N      random seed (default: 1)
# --updates N   length of the training run (default: 40000)
# --dir DIR     where everything is written (default: wikitext2/ in the checkout); each model and seed has
#               its own directory, DIR/MODEL-SEED
#
# The last lines are "valid ppl X" and, with test.txt, "test ppl Y". A second run reuses existing files
# and resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/language_models.sh"
need_environment

parse_language_model wikitext2 40000 "$@"
echo "wikitext2: prepare"
prepare_words
run_language_model lrn_lm_wikitext2 "--batch-size 5 --update-freq 3 --lr 15 --max-segment-excess 20"
