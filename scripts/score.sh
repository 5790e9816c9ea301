#!/usr/bin/env bash
# fairseq-lrn score, from a checkout.
#
#   bash scripts/score.sh GENERATED REFERENCE [LANG] [OPTIONS OF SACREBLEU'S BLEU]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment
exec fairseq-lrn score "$@"
