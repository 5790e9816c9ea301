#!/usr/bin/env bash
# Train and evaluate a tagger of named entities on CoNLL-2003.
#
#   bash scripts/conll2003.sh RAW_DIR [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                             [--vectors FILE] [--tag-scheme S] [-- fairseq-train options]
#
# RAW_DIR        train.txt, valid.txt and, where there is one, test.txt, which is evaluated at the end:
#                CoNLL columns, the word first and the tag last
# --model MODEL  the cell: lrn (default), olrn, lstm, gru, sru or atr
# --seed N       random seed (default: 1)
# --updates N    length of the training run (default: 6000)
# --dir DIR      where everything is written (default: conll2003/ in the checkout); each model and seed
#                has its own directory, DIR/MODEL-SEED
# --vectors FILE GloVe vectors of width 100 (default: *.100d*.txt or .txt.gz in RAW_DIR or in
#                RAW_DIR/../glove)
# --tag-scheme S scheme of the tags: IOB2 (default), IOB1 (that of the shared task's files) or IOBES
#
# The last lines are "valid f1 X" and, with test.txt, "test f1 Y". A second run reuses existing files and
# resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/labelled_text.sh"
need_environment

tag_scheme=IOB2
parse_labelled conll2003 6000 txt --tag-scheme "$@"
need_name --tag-scheme "$tag_scheme" "IOB2 IOB1 IOBES"
scheme=()
[ "$tag_scheme" = IOB2 ] || scheme=(--tag-scheme "$tag_scheme")
echo "conll2003: prepare"
prepare_labelled txt --kind tags "${scheme[@]}" --lowercase
run_labelled conll2003 f1 txt
