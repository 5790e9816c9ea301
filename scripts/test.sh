#!/usr/bin/env bash
# Set up the environment, then run ruff, mypy and all tests.
#
#   bash scripts/test.sh [pytest options]     for example: bash scripts/test.sh -k scan
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
bash "$ROOT/scripts/setup.sh" dev
source "$ROOT/scripts/env.sh" # again: it activates the environment that there is now
cd "$ROOT"
ruff check .
ruff format --check .
mypy
# The tests start hundreds of processes. Without bytecode, each of them compiles the package again.
unset PYTHONDONTWRITEBYTECODE
# Two processes. Tests that share the quick start run in the same one (pytest-xdist 3.8 supports this
# with pytest 8).
exec python -m pytest -n 2 --dist loadgroup "$@"
