#!/usr/bin/env bash
# Runs `fairseq-lrn score` in the environment of the checkout.
#
#   bash scripts/score.sh TRANSLATIONS REFERENCE [LANG] [sacreBLEU options]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment
exec fairseq-lrn score "$@"
