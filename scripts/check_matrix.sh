#!/usr/bin/env bash
# Check versions of Python and torch, an environment without a compiler or without Triton, and each way to
# install the package, each in a fresh environment.
#
#   bash scripts/check_matrix.sh [--dir DIR] [ROW...]
#
# --dir DIR where everything is written (default: matrix/ in the checkout)
# ROW       names in the table ROWS below (default: all). Results are kept in DIR, so rows may be run one
#           at a time; the table printed at the end has all of them.
#
# The kinds of check: "pipeline" runs the quick start (preprocess, train, translate, score) and the unit
# tests; "install" installs the package in one of several ways, then trains and translates with fairseq's
# commands; "torch" installs the package without its requirements next to torch alone.
# Pipeline and install rows take half an hour to an hour each on one core. All rows need the package
# index. Pythons are looked up as python3.N and in pyenv; a row whose Python is missing fails and says so.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# name, Python, torch (-: the version in constraints.txt), kind of check
ROWS="
py3.9       3.9   2.1.2  pipeline
py3.10      3.10  2.2.2  pipeline
py3.11      3.11  -      pipeline
py3.12      3.12  -      pipeline
py3.13      3.13  -      pipeline
no-compiler 3.11  -      pipeline
no-triton   3.11  -      pipeline
isolated    3.11  -      install
editable    3.11  -      install
by-path     3.11  -      install
torch-only  3.11  -      torch
"

directory=$ROOT/matrix rows=()
while [ $# -gt 0 ]; do
  case $1 in
    --dir) need_value "$@" && directory=$2 && shift ;;
    -*) fail "unknown option $1; usage: check_matrix.sh [--dir DIR] [ROW...]" ;;
    *)
      grep -q "^$1 " <<<"$ROWS" ||
        fail "there is no row $1; rows: $(awk '{print $1}' <<<"$ROWS" | xargs)"
      rows+=("$1")
      ;;
  esac
  shift
done
[ ${#rows[@]} -gt 0 ] || read -ra rows <<<"$(awk '{print $1}' <<<"$ROWS" | xargs)"
make_directory

find_python() { # version
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    if "$candidate" -c 'import venv' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  fail "no Python $1 found"
}

# Copies the files of the checkout, uncommitted changes included, so that each row builds in its own copy.
copy_checkout() { # destination
  mkdir -p "$1"
  local file
  (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard |
    while IFS= read -rd '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    xargs -0 cp --parents -t "$1")
}

# Fills a directory with links to all programs of the PATH except compilers.
path_without_compilers() { # directory
  local source program
  mkdir -p "$1"
  local -a sources
  IFS=: read -ra sources <<<"$PATH"
  for source in "${sources[@]}"; do
    for program in "$source"/*; do
      case ${program##*/} in
        *c++* | *g++* | *gcc* | *clang* | cc | nvcc) ;;
        *) [ ! -x "$program" ] || [ -e "$1/${program##*/}" ] || ln -s "$program" "$1/" ;;
      esac
    done
  done
}

install() { python -m pip install --quiet --disable-pip-version-check "$@"; }

# torch's GPU build requires the version of Triton that it was built for.
write_constraints() { # row's directory
  grep -v '^triton==' "$1/checkout/constraints.txt" >"$1/constraints"
}

# Installs fairseq and its build requirements as setup.sh does, but not fairseq_lrn.
install_fairseq() { # constraints
  install -c "$1" torch numpy cython setuptools wheel
  install -c "$1" --no-build-isolation fairseq-fixed
}

# Prepares data, trains for a few updates and translates, outside the checkout. The user directory is
# given as users would give it.
train_and_translate() { # row's directory, user directory
  local scripts=$1/checkout/scripts
  cd "$1"
  # PYTHONPATH is for our scripts only: the check is whether fairseq's commands find the package.
  PYTHONPATH=$1/checkout python "$scripts/make_toy_corpus.py" --destdir raw
  PYTHONPATH=$1/checkout python -m fairseq_lrn prepare --source-lang en --target-lang de \
    --trainpref raw/train --validpref raw/valid --testpref raw/test --vocab-size 800 --destdir data
  fairseq-train data --user-dir "$2" --arch lrn_tiny --share-all-embeddings --max-update 20 \
    --optimizer adam --lr 0.005 --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --max-tokens 4096 --save-dir checkpoints
  fairseq-generate data --user-dir "$2" --path checkpoints/checkpoint_last.pt --beam 2 \
    --required-batch-size-multiple 1 >generated.txt
  grep -q '^Generate test' generated.txt
}

check_pipeline() { # row, its directory
  local checkout=$2/checkout
  [ "$1" != no-compiler ] || export FAIRSEQ_LRN_BUILD=0
  bash "$checkout/scripts/setup.sh" dev
  case $1 in
    no-triton) python -m pip uninstall --quiet --yes triton ;;
    no-compiler)
      unset FAIRSEQ_LRN_BUILD
      path_without_compilers "$2/programs"
      export PATH=$VIRTUAL_ENV/bin:$2/programs
      hash -r
      ;;
  esac
  cd "$checkout"
  python -m fairseq_lrn.ops >"$2/kernels"
  bash scripts/quickstart.sh --dir "$2/quickstart" >"$2/quickstart.txt"
  python -m pytest -n 2 --dist loadgroup --ignore tests/end_to_end -q >"$2/tests.txt" ||
    { tail -n 40 "$2/tests.txt" && return 1; }
}

check_install() { # row, its directory
  local checkout=$2/checkout user_dir=fairseq_lrn constraints=$2/constraints
  write_constraints "$2"
  install_fairseq "$constraints"
  cd "$2"
  case $1 in
    isolated) install -c "$constraints" "$checkout" ;;
    editable)
      install -c "$constraints" -e "$checkout"
      user_dir=$checkout/fairseq_lrn # fairseq looks up a bare name only next to itself
      ;;
    by-path)
      install -c "$constraints" sentencepiece sacremoses protobuf
      user_dir=$checkout/fairseq_lrn
      ;;
  esac
  [ "$1" = by-path ] || (cd / && fairseq-lrn --version)
  (cd "${user_dir%fairseq_lrn}/" && python -m fairseq_lrn.ops) >"$2/kernels"
  train_and_translate "$2" "$user_dir"
}

# Without its requirements except torch: LRN and the operators work, and the rest says what to install.
check_torch() { # row, its directory
  write_constraints "$2"
  install -c "$2/constraints" torch
  install --no-deps "$2/checkout"
  cd "$2"
  python -m fairseq_lrn.ops >"$2/kernels"
  python - <<'END'
import sys

import torch

import fairseq_lrn.ops
from fairseq_lrn import LRN

output, _ = LRN(4, 3)(torch.randn(5, 2, 4))
assert output.shape == (5, 2, 3)
loaded = {"fairseq", "sentencepiece", "sacremoses"} & sys.modules.keys()
assert not loaded, f"imported: {loaded}"
try:
    import fairseq_lrn.models
except ImportError as error:
    assert "install fairseq" in str(error), error
    print("importing fairseq_lrn.models says:", error)
else:
    sys.exit("fairseq_lrn.models was imported without fairseq")
END
}

describe() { # row, status, minutes, its directory
  local versions='- | -' bleu=- tests=- kernels=-
  if [ -x "$4/env/bin/python" ]; then
    versions=$("$4/env/bin/python" - 2>/dev/null <<'END' || true
import importlib.metadata as metadata
import platform
names = {d.metadata["Name"]: d.version for d in metadata.distributions()}
fairseq = next((f"{n} {names[n]}" for n in ("fairseq-fixed", "fairseq") if n in names), "no fairseq")
print(platform.python_version(), "|", names.get("torch", "-").split("+")[0] + ",", fairseq)
END
    )
  fi
  [ ! -f "$4/quickstart.txt" ] || bleu=$(grep -oE 'BLEU\|[^=]* = [0-9.]+' "$4/quickstart.txt" |
    grep -oE '[0-9.]+$' || echo -)
  [ ! -f "$4/tests.txt" ] || tests=$(grep -oE '[0-9]+ (passed|failed|skipped|errors?)' \
    <(tail -n 1 "$4/tests.txt") | paste -sd, | sed 's/,/, /g' || echo -)
  [ ! -f "$4/kernels" ] || kernels=$(sed -n 's/^kernels on cpu: //p' "$4/kernels" | head -n 1)
  echo "| $1 | $versions | $kernels | $bleu | $tests | $2 | $3 |"
}

# A row is a process group of its own, which an interrupt ends with everything that it started.
set -m
trap 'kill -- "-$!" 2>/dev/null; exit 130' INT TERM
failures=0
for row in "${rows[@]}"; do
  read -r _ version torch kind <<<"$(grep "^$row " <<<"$ROWS")"
  row_directory=$directory/$row log=$directory/$row.log
  echo "$row: Python $version, messages in $log"
  rm -rf "$row_directory" "$directory/$row.result"
  mkdir -p "$row_directory"
  started=$SECONDS
  # In the background, because "set -e" has no effect inside a condition.
  (
    unset PYTHONPATH VIRTUAL_ENV
    export TORCH_EXTENSIONS_DIR=$row_directory/extensions
    python=$(find_python "$version")
    copy_checkout "$row_directory/checkout"
    "$python" -m venv "$row_directory/env"
    source "$row_directory/env/bin/activate"
    [ "$torch" = - ] || install "torch==$torch" 'numpy<2'
    "check_$kind" "$row" "$row_directory"
  ) >"$log" 2>&1 &
  if wait $!; then
    status=works
  else
    status="fails ($row.log)" failures=$((failures + 1))
    tail -n 3 "$log" >&2
  fi
  describe "$row" "$status" "$(((SECONDS - started + 30) / 60))" "$row_directory" |
    tee "$directory/$row.result"
done

echo
echo "| row | Python | torch, fairseq | kernel | BLEU | unit tests | result | minutes |"
echo "| --- | --- | --- | --- | ---: | --- | --- | ---: |"
for row in $(awk '{print $1}' <<<"$ROWS"); do
  cat "$directory/$row.result" 2>/dev/null || true
done
exit $((failures > 0))
