#!/usr/bin/env bash
# Multi30k English-German from raw text to BLEU: prepare, train, average, generate, score.
# The default model takes about an hour on two CPU cores with bfloat16, two without (estimated).
#
#   bash scripts/multi30k.sh [RAW_DIR] [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                            [-- OPTIONS OF fairseq-train]
#
# RAW_DIR has {train,val,test_2016_flickr}.{en,de}; without it the files are downloaded. MODEL is
# lrn (the default), or to compare it with: transformer_lrn, transformer, transformer_rdrop, lstm; or
# of equal size, 512 wide: lrn_512, transformer_512, lstm_512. They are trained for N updates
# (default: 8000).
# Everything goes to DIR (default: multi30k/ in the checkout), each model and seed into a directory
# of its own. Running it again reuses what is there and continues training that was interrupted.
# scripts/results_table.py DIR/* prints a table of all that were trained.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

parse_recipe "$ROOT/multi30k" "$@"
echo "multi30k: prepare"
prepare_multi30k "$directory" "$raw" --bpe-merges 10000
run_recipe en de valid test
fairseq-lrn score "$directory/$run_name/generate-test.txt" \
  "$raw/test_2016_flickr.de" -lc
