#!/usr/bin/env bash
# Measure everything on one NVIDIA GPU, within 20 minutes, and write tables for the docs.
#
#   bash scripts/gpu_report.sh OUT [--steps STEP ...] [--only REGEX] [--minutes N] [--data DIR]
#
# OUT           directory to write; results appear in it as they come, and OUT/report.md after each step
# --steps STEP  only these steps: data smoke tests scan layer train half generate profile
# --only REGEX  only the steps whose name matches, e.g. 'train-lrn.*-bf16'
# --minutes N   time for all steps (default: 20)
# --data DIR    English-German data of fairseq-lrn prepare (default: a generated corpus of short sentences)
#
# It needs no network. The machine must have a GPU build of torch with Triton, fairseq, sentencepiece,
# sacremoses, pytest with pytest-timeout, pytest-xdist and hypothesis, and this checkout, which need not
# be installed. PYTHON names the interpreter (default: python of the active environment). Every step has its
# own time limit, so a step that hangs costs only its share. A second run with the same OUT goes on: it
# repeats no step that is done.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ -n "${1:-}" ] || fail "give OUT, the directory to write"
export PYTHONPATH=$ROOT:$ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}
exec "${PYTHON:-python}" "$ROOT/scripts/gpu_report.py" "$@"
