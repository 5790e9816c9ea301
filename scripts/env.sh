# Sourced by the other scripts: finds the checkout and the virtual environment.
# The active environment is used where there is one, otherwise .venv in the checkout.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "error: $*" >&2
  exit 2
}

if [ -z "${VIRTUAL_ENV:-}" ] && [ -f "$ROOT/.venv/bin/activate" ]; then
  # shellcheck source=/dev/null
  source "$ROOT/.venv/bin/activate"
fi

# The plugin that fairseq loads; tests put one in its place that breaks a part of the model.
USER_DIR=${FAIRSEQ_LRN_USER_DIR:-$ROOT/fairseq_lrn}

# Data that prepare_text.py made must be whole before anything is trained on it.
check_data() { # directory source target
  local name
  for name in "dict.$2.txt" "dict.$3.txt" "train.$2-$3.$2.bin" "valid.$2-$3.$2.bin"; do
    [ -f "$1/$name" ] || fail "$1 lacks $name: remove $1 and run this command again"
  done
}

# Trains, showing progress line by line; the whole log is in the file given first.
train() { # log arguments...
  local log=$1
  shift
  fairseq-train "$@" --user-dir "$USER_DIR" --no-progress-bar --log-format simple \
    2>"$log.stderr" | tee -a "$log" |
    sed -u -n -E "s/^.*\| (epoch .*|train_inner.*|valid.*|done training.*|Loaded .*)/\1/p" || {
    tail -n 20 "$log.stderr" >&2
    fail "training failed; the log is $log"
  }
}

# Translates the test set with beam 5 and leaves output and log in the directory given first.
# Batches need not be a multiple of 8: fairseq would leave out the sentences that remain.
generate() { # directory data checkpoint
  fairseq-generate "$2" --user-dir "$USER_DIR" --path "$3" --beam 5 \
    --remove-bpe sentencepiece --batch-size 64 --required-batch-size-multiple 1 \
    >"$1/generate-test.txt" 2>"$1/generate-test.log" || {
    tail -n 20 "$1/generate-test.log" >&2
    fail "fairseq-generate failed; the log is $1/generate-test.log"
  }
}
