#!/usr/bin/env bash
# Measure the effect of a change to the model: a short training run of the Multi30k recipe with a full
# learning-rate schedule, evaluated on the validation set.
#
#   bash scripts/ablations.sh CHANGE [RAW_DIR] [--seed N] [--updates N] [--dir DIR]
#                             [--tokenizer TOKENIZER] [-- fairseq-train options]
#
# CHANGE      one of the names in CHANGES below or of those that scripts/ablations registers, or several
#             joined by +. "none" is the recipe without R-Drop. (In a short run, R-Drop only slows learning
#             down.)
# RAW_DIR     raw text, as for multi30k.sh; without it, the files are downloaded.
# --seed N    random seed (default: 1)
# --updates N length of the training run (default: 1000)
# --dir DIR   where everything is written (default: multi30k/ in the checkout). Prepared data are
#             shared with multi30k.sh; this run goes to DIR/CHANGE-SEED.
# --tokenizer TOKENIZER as for multi30k.sh
#
# A run takes about 15 minutes on one CPU core with bfloat16. The last line is "valid bleu X". `python
# scripts/results_table.py DIR/*` prints a table of all runs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

# The options that the architecture lrn_multi30k sets, spelled out so that a change can omit one.
SIZE="--arch lrn --encoder-embed-dim 128 --encoder-hidden-size 128 --encoder-layers 4
  --decoder-embed-dim 128 --decoder-hidden-size 128 --decoder-layers 4
  --decoder-attention-heads 4 --dropout 0.3"

CHANGES="none tanh layers-2 layers-6 no-label-smoothing source-table plain-projection"
REGISTERED=$(sed -nE 's/^@?register_ablation\("([^"]+)"\).*/\1/p' "$ROOT"/scripts/ablations/*.py | xargs)
CHANGES+=" $REGISTERED"
[ -n "${1:-}" ] || fail "give a CHANGE: one of $CHANGES, or several joined by +"
change=$1
activation=identity
model_changes=
ablations=
layers=
table=

# Refuses two changes of the same options.
choose_one() { # variable with the earlier change, change
  [ -z "${!1}" ] || fail "CHANGE has ${!1} and $2: give one of them"
  printf -v "$1" %s "$2"
}

for name in ${change//+/ }; do
  case $name in
    none) ;;
    tanh) activation=tanh ;;
    layers-2 | layers-6)
      choose_one layers "$name"
      model_changes+=" --encoder-layers ${name#layers-} --decoder-layers ${name#layers-}"
      ;;
    no-label-smoothing) model_changes+=" --label-smoothing 0" ;;
    # SIZE goes in front, so that the options of other changes override it.
    source-table)
      choose_one table "$name"
      model_changes="$SIZE --layernorm-projection --share-decoder-input-output-embed $model_changes"
      ;;
    plain-projection)
      choose_one table "$name"
      model_changes="$SIZE --share-all-embeddings $model_changes"
      ;;
    *)
      # Changes of the layers, registered in the user directory scripts/ablations.
      [[ " $REGISTERED " == *" $name "* ]] ||
        fail "CHANGE must be one of $CHANGES, or several joined by +, not $name"
      ablations=${ablations:+$ablations+}$name
      USER_DIR=$ROOT/scripts/ablations
      ;;
  esac
done
parse_recipe "$ROOT/multi30k" --tokenizer --updates 1000 "${@:2}"
[ "$model" = lrn ] || fail "--model does not apply: CHANGE is a change of lrn"
prepare_multi30k --bpe-merges 10000 --tokenizer "$tokenizer"
run_name=$change-$seed
title="$change, seed $seed"
[ -z "$ablations" ] || model_changes+=" --ablation $ablations"
read -ra model_changes <<<"${model_changes//$'\n'/ }"
options=(--rdrop-alpha 0 --rdrop-from-update 0 --no-epoch-checkpoints --keep-last-epochs 1
  --activation-fn "$activation" "${model_changes[@]}" "${options[@]}")
run_recipe en de valid
score_run valid "$raw/val.de"
