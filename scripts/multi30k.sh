#!/usr/bin/env bash
# Train and score a Multi30k English-German model from raw text: prepare, train, average checkpoints,
# translate, BLEU.
#
#   bash scripts/multi30k.sh [RAW_DIR] [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                            [--recipe RECIPE] [--tokenizer TOKENIZER] [-- fairseq-train options]
#
# RAW_DIR       raw text: {train,val,test_2016_flickr}.{en,de}; without it, the files are downloaded.
# --model MODEL lrn (default), or a model of about the same number of parameters: transformer_lrn,
#               transformer, lstm; or lstm_256, which has three times as many; or one that is 512 wide,
#               to compare decoding speed: lrn_512, transformer_512, lstm_512 (whose encoder reads in one
#               direction)
# --seed N      random seed (default: 1)
# --updates N   length of the training run (default: 8000)
# --dir DIR     where everything is written (default: multi30k/ in the checkout); each model and seed
#               has its own directory, DIR/MODEL-SEED
# --recipe RECIPE
#               equal (default): R-Drop in the second half and a cooldown, for every model that is not 512
#               wide; published: neither, as Wu et al. (2021) trained the tiny transformer. It goes to
#               DIR/MODEL-published-SEED.
# --tokenizer TOKENIZER
#               moses (default; published BLEU is of tokenised text) or none, as in fairseq-lrn prepare;
#               each needs a DIR of its own
#
# The default model took 64 minutes on two cores of an Intel Xeon with AMX, in bfloat16.
# `-- --task translation_lrn --eval-bleu` shows BLEU and example translations after each epoch.
# The last line is "test bleu X": BLEU of the lower-cased tokens, as fairseq computes it. A second run reuses
# existing files and resumes an interrupted training run.
# `python scripts/results_table.py DIR/*` prints a table of all runs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

parse_recipe "$ROOT/multi30k" "--recipe --tokenizer" "$@"
echo "multi30k: prepare"
prepare_multi30k --bpe-merges 10000 --tokenizer "$tokenizer"
run_recipe en de valid test
score_run valid "$raw/val.de"
score_run test "$raw/test_2016_flickr.de"
