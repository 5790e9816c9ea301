#!/usr/bin/env bash
# Tatoeba German-English from raw text to BLEU, as scripts/multi30k.sh does it.
#
#   bash scripts/tatoeba.sh RAW_DIR [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                           [-- OPTIONS OF fairseq-train]
#
# RAW_DIR has {train,valid}.{de,en}: sentence pairs of tatoeba.org, as manythings.org/anki has them,
# in a split of your own. See scripts/multi30k.sh for MODEL and DIR (default: tatoeba/).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

parse_recipe "$ROOT/tatoeba" "$@"
[ -n "$raw" ] || fail "give a directory that has train.de, train.en, valid.de and valid.en"
for file in train.de train.en valid.de valid.en; do
  [ -s "$raw/$file" ] || fail "$raw/$file is missing or empty"
done
raw=$(cd "$raw" && pwd)
echo "tatoeba: prepare"
mkdir -p "$directory"
lock "$directory"
reuse_or_prepare "$directory/data-bin" "$raw/train" --source-lang de --target-lang en --lowercase \
  --trainpref "$raw/train" --validpref "$raw/valid" --bpe-merges 10000
check_data "$directory/data-bin" de en
exec 9>&-
run_recipe de en valid
fairseq-lrn score "$directory/$run_name/generate-valid.txt" "$raw/valid.en" -lc
