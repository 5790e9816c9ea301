#!/usr/bin/env bash
# Measure everything on one NVIDIA GPU, within 20 minutes, and write tables for the docs.
#
#   bash scripts/gpu_report.sh OUT [--steps STEP ...] [--minutes N]
#
# OUT           directory to write; results appear in it as they come, OUT/report.md last
# --steps STEP  only these steps: data tests scan layer train generate profile
# --minutes N   time for all steps (default: 20)
#
# It needs no network. On the machine must be: a GPU build of torch with Triton, fairseq, sentencepiece,
# sacremoses, pytest, and this checkout (bash scripts/setup.sh installs the last five beside such a
# torch). Every step has its own time limit, so that a step that hangs costs only its share.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ -n "${1:-}" ] || fail "give OUT, the directory to write"
exec python "$ROOT/scripts/gpu_report.py" "$@"
