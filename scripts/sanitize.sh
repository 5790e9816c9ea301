#!/usr/bin/env bash
# Test the C++ kernels under AddressSanitizer and UndefinedBehaviorSanitizer: build them with both, in a
# temporary directory, and run the tests of the operators.
#
#   bash scripts/sanitize.sh [pytest options]
#
# Needs the environment of `bash scripts/setup.sh dev` and the sanitizer libraries of g++.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment
cd "$ROOT"

compiler=${CXX:-g++}
libraries=""
for name in libasan.so libubsan.so; do
  library=$("$compiler" -print-file-name="$name")
  [ -e "$library" ] || fail "$compiler has no $name: install it (a part of g++), or set CXX"
  libraries="$libraries $library"
done

TORCH_EXTENSIONS_DIR=$(mktemp -d)
export TORCH_EXTENSIONS_DIR CXX=$compiler
trap 'rm -rf "$TORCH_EXTENSIONS_DIR"' EXIT
# The flags are part of the library's name, so a library built without them is not loaded.
FAIRSEQ_LRN_CXXFLAGS="-O1 -g -fno-omit-frame-pointer"
FAIRSEQ_LRN_CXXFLAGS+=" -fsanitize=address,undefined -fno-sanitize-recover=all"
export FAIRSEQ_LRN_CXXFLAGS
export FAIRSEQ_LRN_BACKEND=cpp

# The tests of every operator that has a directory of C++ code. attentive_recurrence has its code in those
# of lrn_scan and additive_attention.
tests=(tests/ops/lrn_scan/test_{agreement,interface}.py tests/ops/test_attentive_recurrence.py)
for operator in fairseq_lrn/ops/csrc/*/; do
  case $(basename "$operator") in
    common | lrn_scan) ;;
    *) tests+=("tests/ops/test_$(basename "$operator").py") ;;
  esac
done

# Python itself is not instrumented: the sanitizers' libraries must be loaded first, and leaks of Python
# do not matter.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
LD_PRELOAD="$libraries $("$compiler" -print-file-name=libstdc++.so)" \
  python -m pytest -p no:cacheprovider "${tests[@]}" "$@"
