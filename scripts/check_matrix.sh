#!/usr/bin/env bash
# Does it work with that Python, that torch, without a compiler? A fresh environment for each row:
# the quick start (preprocess, train, generate, score), then the unit tests; and each
# way to install.
#
#   bash scripts/check_matrix.sh [--dir DIR] [ROW...]
#
# Rows: those of the table below; without any, all of them. Everything goes to DIR (default: matrix/
# in the checkout), where RESULT lines are kept, so rows may be run one at a time; the table that is
# printed has all of them. Half an hour to an hour a row on one core; needs the package index.
# Pythons are looked for as python3.N and in pyenv; a row whose Python is missing says so.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# name, Python, torch (empty: that of constraints.txt), what is checked
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
"

directory=$ROOT/matrix rows=()
while [ $# -gt 0 ]; do
  case $1 in
    --dir) directory=${2:?--dir needs a directory} && shift ;;
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
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)

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

# The files of the checkout as they are, in a place of their own: what is built there stays there.
copy_checkout() { # destination
  mkdir -p "$1"
  (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp --parents -t "$1")
}

# A PATH that has all the programs of this one but compilers.
path_without_compilers() { # directory
  local place program
  mkdir -p "$1"
  local -a places
  IFS=: read -ra places <<<"$PATH"
  for place in "${places[@]}"; do
    for program in "$place"/*; do
      case ${program##*/} in
        *c++* | *g++* | *gcc* | *clang* | cc | nvcc) ;;
        *) [ ! -x "$program" ] || [ -e "$1/${program##*/}" ] || ln -s "$program" "$1/" ;;
      esac
    done
  done
}

install() { python -m pip install --quiet --disable-pip-version-check "$@"; }

# fairseq and what it is built with, as setup.sh installs them, but nothing of ours.
install_fairseq() { # constraints
  install -c "$1" torch numpy cython setuptools wheel
  install -c "$1" --no-build-isolation fairseq-fixed
}

# Prepares, trains for a few updates and translates in the directory given first, away from the
# checkout, with the plugin as users would name it.
train_and_translate() { # where user-dir
  local scripts=$1/checkout/scripts
  cd "$1"
  # Our scripts import the package; what is being checked is how fairseq finds it.
  PYTHONPATH=$1/checkout python "$scripts/make_toy_corpus.py" --destdir raw
  PYTHONPATH=$1/checkout python "$scripts/prepare_text.py" --source-lang en --target-lang de \
    --trainpref raw/train --validpref raw/valid --testpref raw/test --vocab-size 800 --destdir data
  fairseq-train data --user-dir "$2" --arch lrn_tiny --share-all-embeddings --max-update 20 \
    --optimizer adam --lr 0.005 --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --max-tokens 4096 --save-dir checkpoints
  fairseq-generate data --user-dir "$2" --path checkpoints/checkpoint_last.pt --beam 2 \
    --required-batch-size-multiple 1 >generated.txt
  grep -q '^Generate test' generated.txt
}

check_pipeline() { # row, where
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

check_install() { # row, where
  local checkout=$2/checkout user_dir=fairseq_lrn constraints=$2/constraints
  # torch's GPU build brings the Triton that it was made for.
  grep -v '^triton==' "$checkout/constraints.txt" >"$constraints"
  install_fairseq "$constraints"
  cd "$2"
  case $1 in
    isolated) install -c "$constraints" "$checkout" ;;
    editable)
      install -c "$constraints" -e "$checkout"
      user_dir=$checkout/fairseq_lrn # fairseq finds names only beside itself
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

describe() { # row, status, minutes, where
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

failures=0
for row in "${rows[@]}"; do
  read -r _ version torch kind <<<"$(grep "^$row " <<<"$ROWS")"
  where=$directory/$row log=$directory/$row.log
  echo "$row: Python $version, messages in $log"
  rm -rf "$where" "$directory/$row.result"
  mkdir -p "$where"
  started=$SECONDS
  # In the background, as bash heeds "set -e" in no part of a condition.
  (
    unset PYTHONPATH VIRTUAL_ENV
    export TORCH_EXTENSIONS_DIR=$where/extensions
    python=$(find_python "$version")
    copy_checkout "$where/checkout"
    "$python" -m venv "$where/env"
    source "$where/env/bin/activate"
    [ "$torch" = - ] || install "torch==$torch" 'numpy<2'
    "check_$kind" "$row" "$where"
  ) >"$log" 2>&1 &
  if wait $!; then
    status=works
  else
    status="fails ($row.log)" failures=$((failures + 1))
    tail -n 3 "$log" >&2
  fi
  describe "$row" "$status" "$(((SECONDS - started + 30) / 60))" "$where" |
    tee "$directory/$row.result"
done

echo
echo "| row | Python | torch, fairseq | kernel | BLEU | unit tests | | minutes |"
echo "| --- | --- | --- | --- | ---: | --- | --- | ---: |"
for row in $(awk '{print $1}' <<<"$ROWS"); do
  cat "$directory/$row.result" 2>/dev/null || true
done
exit $((failures > 0))
