#!/usr/bin/env bash
# Install everything: into the active virtual environment, or into .venv, which it makes.
# Running it again does no harm and is quick. PYTHON=python3.11 chooses the interpreter. Arguments
# are extras of setup.py to install as well: dev, benchmark.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [ -z "${VIRTUAL_ENV:-}" ]; then
  python=${PYTHON:-$(command -v python3.11 || command -v python3)} ||
    fail "no python3 found: install Python 3.11"
  echo "setup: making a virtual environment in $ROOT/.venv with $python"
  "$python" -m venv "$ROOT/.venv" || fail "cannot make a virtual environment with $python"
  source "$ROOT/.venv/bin/activate"
fi

extras=$(IFS=, && echo "$*")
version=$(python -c 'import sys; print("%d%02d" % sys.version_info[:2])')
[ "$version" -ge 309 ] || fail "Python 3.9 or later is needed, 3.11 is best; set PYTHON"

# What was installed from these files need not be looked at again.
stamp=$(python - "$ROOT" <<'END'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
facts = hashlib.sha256(f"{root} {sys.version}".encode())
for path in [*map(root.joinpath, ("setup.py", "constraints.txt", "scripts/setup.sh")),
             *sorted(root.glob("fairseq_lrn/ops/csrc/*")), root / "fairseq_lrn/ops/extension.py"]:
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
  # From elsewhere: here, the package would be found without being installed.
  (cd / && python - "$ROOT" 2>/dev/null <<'END'
import pathlib, sys
import fairseq_lrn, sacremoses, sentencepiece
assert pathlib.Path(sys.argv[1]).resolve() in pathlib.Path(fairseq_lrn.__file__).resolve().parents
print("setup: fairseq_lrn", fairseq_lrn.__version__, "is ready")
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
  # Where it sees torch, its build wants sources that the released archive lacks.
  fairseq=fairseq isolation=
  install 'pip<24.1' # later ones refuse the metadata of a package that fairseq 0.12.2 needs
fi
if python -c 'import torch' 2>/dev/null; then
  # Keep the torch that is there: it may be the build for this machine's GPU, with its own Triton.
  sed -i -E '/^(torch|torchaudio|triton)==/d' "$constraints"
  torch=$(python -c 'import torch; print(torch.__version__.split("+")[0])')
  echo "torch==$torch" >>"$constraints"
  case $torch in
    2.[012].*) echo "numpy<2" >>"$constraints" ;; # these were built for numpy 1
  esac
fi

echo "setup: torch and build tools"
# torch's GPU build, which is what the package index has, brings the Triton that it was made for.
triton=$(grep '^triton==' "$constraints" || true)
sed -i '/^triton==/d' "$constraints"
install -c "$constraints" torch numpy cython setuptools wheel ninja
python -c 'import importlib.metadata as m; m.version("triton")' 2>/dev/null ||
  echo "$triton" >>"$constraints"
if ! python -c "import importlib.metadata as m; m.version('$fairseq')" 2>/dev/null; then
  command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    fail "no C++ compiler found, which building fairseq needs: install g++ or clang"
  echo "setup: building fairseq ($fairseq); this takes about 3 minutes"
fi
# The kernels meanwhile, as that build leaves cores idle; the installation below takes what is there.
(cd "$ROOT" && python setup.py --quiet build_ext --inplace) >/dev/null 2>&1 &
install -c "$constraints" $isolation "$fairseq"
wait
echo "setup: fairseq_lrn and its other requirements"
install -c "$constraints" --no-build-isolation -e "$ROOT${extras:+[$extras]}"
# What was true of other files is no longer.
known=$(grep -F "$stamp " "$stamps" 2>/dev/null || true)
{ [ -z "$known" ] || echo "$known"; printf "$stamp %s\\n" base "$@"; } >"$stamps.incomplete"
mv "$stamps.incomplete" "$stamps"
is_ready "$@" || { python -c 'import fairseq_lrn'; exit 1; }
