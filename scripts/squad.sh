#!/usr/bin/env bash
# Train and evaluate a model of reading comprehension on SQuAD 1.1.
#
#   bash scripts/squad.sh RAW_DIR [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                         [--vectors FILE] [--evaluate FILE] [-- fairseq-train options]
#
# RAW_DIR         train.json, valid.json and, where there is one, test.json, which is evaluated at the
#                 end: files in the format of SQuAD 1.1
# --model MODEL   the cell: lrn (default), olrn, lstm, gru, sru or atr
# --seed N        random seed (default: 1)
# --updates N     length of the training run (default: 24000)
# --dir DIR       where everything is written (default: squad/ in the checkout); each model and seed has
#                 its own directory, DIR/MODEL-SEED
# --vectors FILE  GloVe vectors of width 100 (default: *.100d*.txt or .txt.gz in RAW_DIR or in
#                 RAW_DIR/../glove)
# --evaluate FILE another file in the format of SQuAD, which is evaluated in place of those in RAW_DIR
#
# The last lines are "valid em X f1 Y" and, with test.json, "test em X f1 Y"; with --evaluate, the last
# line is "FILE em X f1 Y". The answers are in DIR/MODEL-SEED/answers-valid.json (or answers-test.json,
# answers-evaluate-FILE.json), in the format of the official script. A second run reuses existing files
# and resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/labelled_text.sh"
need_environment

# Answers the questions of a file, and prints "NAME em X f1 Y".
score_answers() { # name, file, name of the answers
  local checkpoint=$directory/$run_name/checkpoints/checkpoint_best.pt
  local answers=$directory/$run_name/$3.json log=$directory/$run_name/$3.log scores
  fairseq-lrn answer "$checkpoint" "$2" --squad --output "$answers" 2>"$log" ||
    fail_with "fairseq-lrn answer failed" "$log" "$checkpoint"
  scores=$(sed -nE 's/^(em [0-9.]+ f1 [0-9.]+) .*/\1/p' "$log" | tail -n 1)
  [ -n "$scores" ] || fail "$2 has no right answers to compare with; the model's are in $answers"
  echo "$1 $scores"
}

evaluate=
parse_labelled squad 24000 json --evaluate "$@"
[ -z "$evaluate" ] || [ -s "$evaluate" ] || fail "$evaluate is missing or empty"
echo "squad: prepare"
prepare_labelled json --kind spans --lowercase --threshold 5
recipe=$(labelled_recipe squad)
train_labelled "$recipe $BFLOAT16" f1
if [ -n "$evaluate" ]; then
  score_answers "$evaluate" "$evaluate" "answers-evaluate-$(basename "$evaluate" .json)"
else
  for subset in valid test; do
    [ ! -s "$raw/$subset.json" ] || score_answers "$subset" "$raw/$subset.json" "answers-$subset"
  done
fi
