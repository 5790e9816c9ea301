#!/usr/bin/env bash
# Choose the learning rate and the norm of a model of multi30k.sh by short training runs.
#
#   bash scripts/choose_recipe.sh [RAW_DIR] [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                                 [--recipe RECIPE] [--tokenizer TOKENIZER] [-- fairseq-train options]
#
# The rule, the same for all models: each of the rates in RATES is tried with the whole recipe, compressed
# to --updates N updates (default: 500), in the model's own form and, except for lstm, which has no layer
# norm, with pre-norm on both sides. The trial with the lowest loss on the validation set, at its best
# epoch, is chosen. A trial whose training fails, for example because it diverges, is not. Short runs
# favour what learns fast: a larger N is a better test.
#
# The trials go to DIR/trials/RECIPE-UPDATES/MODEL-RATE-SEED and MODEL-pre-norm-RATE-SEED. The last line is
# the name of the chosen one. The other options are those of multi30k.sh, whose prepared data are shared.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

RATES="0.002 0.005 0.01"
PRE_NORM="--encoder-normalize-before --decoder-normalize-before"

parse_recipe "$ROOT/multi30k" "--recipe --tokenizer" --updates 500 "$@"
for option in --lr $PRE_NORM; do
  refuse "$option" "is what is chosen here: leave it out"
done
echo "choose_recipe: prepare"
prepare_multi30k --bpe-merges 10000 --tokenizer "$tokenizer"

given=("${options[@]}")
trials=trials/$recipe-$updates
runs=()
try() { # name of the form, options of the form
  local rate form status
  read -ra form <<<"$2"
  for rate in $RATES; do
    run_name=$trials/$model$1-$rate-$seed
    options=(--lr "$rate" "${form[@]}" --no-epoch-checkpoints --keep-last-epochs 1 "${given[@]}")
    status=0
    (train_recipe en de) || status=$? # in a subshell, which a failure ends
    case $status in
      0) runs+=("$directory/$run_name") ;;
      "$REFUSED") exit "$REFUSED" ;;
      *) echo "choose_recipe: the trial $model$1-$rate-$seed failed" ;;
    esac
  done
}
try "" ""
[[ $model == lstm* ]] || try -pre-norm "$PRE_NORM"
[ ${#runs[@]} -gt 0 ] || fail "all trials failed: their messages are above"

python "$ROOT/scripts/results_table.py" "${runs[@]}"
python "$ROOT/scripts/results_table.py" --best "${runs[@]}"
