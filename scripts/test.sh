#!/usr/bin/env bash
# Set up and run all tests. Arguments go to pytest, e.g. bash scripts/test.sh -k scan
set -euo pipefail
bash "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
ruff check .
ruff format --check .
mypy
# Two at a time; those that share the quick start, one after another (which pytest-xdist 3.8 can
# do with pytest 8).
exec python -m pytest -n 2 --dist loadgroup "$@"
