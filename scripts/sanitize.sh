#!/usr/bin/env bash
# Test the C++ kernels under AddressSanitizer and UndefinedBehaviorSanitizer: builds them anew with
# both (into a directory that is removed afterwards) and runs the operators' tests.
# Arguments go to pytest. Needs what bash scripts/setup.sh dev installs, and g++'s sanitizers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment
cd "$ROOT"

compiler=${CXX:-g++}
libraries=""
for name in libasan.so libubsan.so; do
  library=$("$compiler" -print-file-name="$name")
  [ -e "$library" ] || fail "$compiler has no $name: install it (it comes with g++), or set CXX"
  libraries="$libraries $library"
done

TORCH_EXTENSIONS_DIR=$(mktemp -d)
export TORCH_EXTENSIONS_DIR CXX=$compiler
trap 'rm -rf "$TORCH_EXTENSIONS_DIR"' EXIT
# The flags are part of the library's name: one that was built without them is not taken.
export FAIRSEQ_LRN_CXXFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
export FAIRSEQ_LRN_BACKEND=cpp

# Python itself is not instrumented: the runtimes come first, and what Python leaks is no concern.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
LD_PRELOAD="$libraries $("$compiler" -print-file-name=libstdc++.so)" \
  python -m pytest -p no:cacheprovider \
  tests/ops/test_{agreement,scan,decoder_step,top_log_probs,cross_entropy,int8_linear}.py "$@"
