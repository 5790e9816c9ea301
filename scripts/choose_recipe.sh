#!/usr/bin/env bash
# Choose the learning rate of a model of multi30k.sh, and pre-norm or post-norm, by short training runs.
#
#   bash scripts/choose_recipe.sh [RAW_DIR] [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                                 [--recipe RECIPE] [--tokenizer TOKENIZER] [-- fairseq-train options]
#
# The rule, the same for all models: each of the rates in RATES is tried with the whole recipe, compressed
# to --updates N updates (default: 500), in the model's own form and, except for lstm, which has no layer
# norm, in pre-norm form. What has the lowest loss on the validation set, at its best epoch, is chosen.
# The runs go to DIR/trials/MODEL-RATE-SEED and MODEL-pre-norm-RATE-SEED. The last line is what was chosen.
# The other options are those of multi30k.sh, which shares its prepared data.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

RATES="0.002 0.005 0.01"
PRE_NORM="--encoder-normalize-before --decoder-normalize-before"

parse_recipe "$ROOT/multi30k" --updates 500 "$@"
echo "choose_recipe: prepare"
prepare_multi30k "$directory" "$raw" --bpe-merges 10000 --tokenizer "$tokenizer"

given=("${options[@]}")
runs=()
try() { # name of the form, options of the form
  local rate form
  read -ra form <<<"$2"
  for rate in $RATES; do
    run_name=trials/$model$1-$rate-$seed
    options=(--lr "$rate" "${form[@]}" --no-epoch-checkpoints --keep-last-epochs 1 "${given[@]}")
    train_recipe en de
    runs+=("$directory/$run_name")
  done
}
try "" ""
[[ $model == lstm* ]] || try -pre-norm "$PRE_NORM"

python "$ROOT/scripts/results_table.py" "${runs[@]}" | tee "$directory/trials/$model-$seed.md"
python "$ROOT/scripts/results_table.py" --best "${runs[@]}"
