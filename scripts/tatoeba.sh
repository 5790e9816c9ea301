#!/usr/bin/env bash
# Train and score a Tatoeba German-English model from raw text, with the recipe of multi30k.sh.
#
#   bash scripts/tatoeba.sh RAW_DIR [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                           [--recipe RECIPE] [--tokenizer TOKENIZER] [-- fairseq-train options]
#
# RAW_DIR   raw text: {train,valid}.{de,en}, sentence pairs of tatoeba.org, for example from
#           manythings.org/anki, split as you like
# --dir DIR where everything is written (default: tatoeba/ in the checkout)
#
# The other options are those of multi30k.sh. The last line is "valid bleu X".
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

parse_recipe "$ROOT/tatoeba" "--recipe --tokenizer" "$@"
check_raw "bash scripts/tatoeba.sh RAW_DIR" train.de train.en valid.de valid.en
echo "tatoeba: prepare"
make_directory
lock "$directory"
prepare_once "$directory/data-bin" "$raw"/{train,valid}.{de,en} -- fairseq-lrn prepare \
  --source-lang de --target-lang en --lowercase --trainpref "$raw/train" --validpref "$raw/valid" \
  --bpe-merges 10000 --tokenizer "$tokenizer"
check_data "$directory/data-bin" de en
exec 9>&-
run_recipe de en valid
score_run valid "$raw/valid.en"
