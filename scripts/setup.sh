#!/usr/bin/env bash
# Install the package and its requirements into the active virtual environment, or into .venv in the
# checkout, which is created if needed. A second run is quick and changes nothing.
#
#   [PYTHON=python3.11] bash scripts/setup.sh [EXTRA...]
#
# PYTHON interpreter for a new .venv (default: python3.11, or else python3)
# EXTRA  extras of setup.py to install as well: dev, test, benchmark, demo, docs, onnx, triton
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

for extra in "$@"; do
  [[ " dev test benchmark demo docs onnx triton " == *" $extra "* ]] ||
    fail "unknown extra $extra: give dev, test, benchmark, demo, docs, onnx or triton"
done

if [ -z "${VIRTUAL_ENV:-}" ]; then
  python=${PYTHON:-$(command -v python3.11 || command -v python3)} ||
    fail "no python3 found: install Python 3.11"
  echo "setup: creating a virtual environment in $ROOT/.venv with $python"
  "$python" -m venv "$ROOT/.venv" || fail "cannot create a virtual environment with $python"
  source "$ROOT/.venv/bin/activate"
fi

extras=$(IFS=, && echo "$*")
version=$(python -c 'import sys; print("%d%02d" % sys.version_info[:2])')
[ "$version" -ge 309 ] || fail "Python 3.9 or later is needed (3.11 is recommended): set PYTHON"

# The hash of the files that determine an installation. If it is recorded, nothing has to be installed.
stamp=$(python - "$ROOT" <<'END'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
facts = hashlib.sha256(f"{root} {sys.version}".encode())
for path in [*map(root.joinpath, ("setup.py", "constraints.txt", "scripts/setup.sh")),
             *sorted(root.glob("fairseq_lrn/ops/csrc/*/*")), root / "fairseq_lrn/ops/build.py"]:
    facts.update(path.read_bytes())
print(facts.hexdigest())
END
)
stamps=$(python -c 'import sys; print(sys.prefix)')/fairseq_lrn-setup
is_ready() { # extras...
  local extra
  for extra in base "$@"; do
    grep -qxF "$stamp $extra" "$stamps" 2>/dev/null || return 1
  done
  # Outside the checkout: in it, Python would find the package without an installation. Packages are
  # found and not imported, because imports take seconds.
  (cd / && python - "$ROOT" 2>/dev/null <<'END'
import pathlib, sys
from importlib import metadata, util
assert all(map(util.find_spec, ("fairseq", "torch", "sacremoses", "sentencepiece")))
package = pathlib.Path(util.find_spec("fairseq_lrn").origin).resolve()
assert pathlib.Path(sys.argv[1]).resolve() in package.parents
print("setup: fairseq_lrn", metadata.version("fairseq-lrn"), "is ready")
END
  )
}
if is_ready "$@"; then
  exit 0
fi

install() { python -m pip install --quiet --disable-pip-version-check "$@"; }

constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
if [ "$version" -ge 311 ]; then
  fairseq=fairseq-fixed isolation=--no-build-isolation # its build imports torch and numpy
  cp "$ROOT/constraints.txt" "$constraints"
else
  # If its build finds torch, it needs source files that the released archive lacks.
  fairseq=fairseq isolation=
  install 'pip<24.1' # later versions refuse the metadata of a requirement of fairseq 0.12.2
fi
if python -c 'import torch' 2>/dev/null; then
  # Keep an installed torch: it may be the build for the machine's GPU, with its own Triton.
  sed -i -E '/^(torch|torchaudio|triton)==/d' "$constraints"
  torch=$(python -c 'import torch; print(torch.__version__.split("+")[0])')
  echo "torch==$torch" >>"$constraints"
  case $torch in
    2.[012].*) echo "numpy<2" >>"$constraints" ;; # these versions were built for numpy 1
  esac
fi

echo "setup: torch and build tools"
# The GPU build of torch, which the package index has, requires the Triton that it was built for.
triton=$(grep '^triton==' "$constraints" || true)
sed -i '/^triton==/d' "$constraints"
install -c "$constraints" torch numpy cython setuptools wheel ninja
python -c 'import importlib.metadata as m; m.version("triton")' 2>/dev/null ||
  echo "$triton" >>"$constraints"
if ! python -c "import importlib.metadata as m; m.version('$fairseq')" 2>/dev/null; then
  command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    fail "no C++ compiler found, but building fairseq needs one: install g++ or clang"
  echo "setup: building fairseq ($fairseq); this takes about 3 minutes"
fi
# Build the kernels at the same time, because the build of fairseq leaves cores idle. The installation
# below uses the result.
(cd "$ROOT" && python setup.py --quiet build_ext --inplace) >/dev/null 2>&1 &
install -c "$constraints" $isolation "$fairseq"
wait
echo "setup: fairseq_lrn and its other requirements"
# seqeval's source archive builds only in isolation.
if [[ " $* " =~ " dev "|" test " ]]; then install -c "$constraints" --use-pep517 'seqeval>=1.2.2'; fi
install -c "$constraints" --no-build-isolation -e "$ROOT${extras:+[$extras]}"
(cd / && python -c 'import fairseq_lrn, sacremoses, sentencepiece')
# Record the extras installed from these files. Records of other versions of the files are dropped.
known=$(grep -F "$stamp " "$stamps" 2>/dev/null || true)
{ [ -z "$known" ] || echo "$known"; printf "$stamp %s\\n" base "$@"; } >"$stamps.incomplete"
mv "$stamps.incomplete" "$stamps"
is_ready "$@"
