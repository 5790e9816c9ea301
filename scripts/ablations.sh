#!/usr/bin/env bash
# What a change gives in a short training of the recipe of multi30k.sh with a whole schedule, on
# the validation set. About 15 minutes each on one CPU core with bfloat16.
#
#   bash scripts/ablations.sh CHANGE [RAW_DIR] [--seed N] [--updates N] [--dir DIR]
#                             [-- OPTIONS OF fairseq-train]
#
# CHANGE is one of those below, or several with + between; "none" is the recipe without R-Drop, with
# which a short training only learns more slowly. N is 1000 updates, if it is not given. RAW_DIR and
# DIR are those of multi30k.sh, with which this shares its data. It goes to DIR/CHANGE-SEED, and
# scripts/results_table.py DIR/* prints a table.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/recipes.sh"
need_environment

# The other options of lrn_multi30k one by one, to leave one out.
SIZE="--arch lrn --encoder-embed-dim 128 --encoder-hidden-size 128 --encoder-layers 4
  --decoder-embed-dim 128 --decoder-hidden-size 128 --decoder-layers 4
  --decoder-attention-heads 4 --dropout 0.3"

CHANGES="none tanh layers-2 layers-6 no-label-smoothing source-table plain-projection
  rms-norm scaled-residual open-forget-gates closed-forget-gates attention-in-last-layer"
CHANGES=${CHANGES//$'\n' /}
[ -n "${1:-}" ] || fail "give a CHANGE, one of $CHANGES, or several with + between"
change=$1
activation=identity
changed=
ablations=
for name in ${change//+/ }; do
  case $name in
    none) ;;
    tanh) activation=tanh ;;
    layers-2) changed+=" --encoder-layers 2 --decoder-layers 2" ;;
    layers-6) changed+=" --encoder-layers 6 --decoder-layers 6" ;;
    no-label-smoothing) changed+=" --label-smoothing 0" ;;
    # In front, so that other changes count.
    source-table)
      changed="$SIZE --layernorm-projection --share-decoder-input-output-embed $changed"
      ;;
    plain-projection) changed="$SIZE --share-all-embeddings $changed" ;;
    rms-norm | scaled-residual | open-forget-gates | closed-forget-gates | attention-in-last-layer)
      # Registered in scripts/ablations.
      ablations=${ablations:+$ablations+}$name
      USER_DIR=$ROOT/scripts/ablations
      ;;
    *) fail "CHANGE must be one of $CHANGES, or several joined by +, not $name" ;;
  esac
done
parse_recipe "$ROOT/multi30k" --updates 1000 "${@:2}"
prepare_multi30k "$directory" "$raw" --bpe-merges 10000
run_name=$change-$seed
[ -z "$ablations" ] || changed+=" --ablation $ablations"
read -ra changed <<<"${changed//$'\n'/ }"
options=(--rdrop-alpha 0 --rdrop-from-update 0 --no-epoch-checkpoints --keep-last-epochs 1
  --activation-fn "$activation" "${changed[@]}" "${options[@]}")
run_recipe en de valid
