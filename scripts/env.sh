# Sourced by the other scripts: finds the checkout and the virtual environment, and has what
# they share. The active environment is used where there is one, otherwise .venv in the checkout.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "error: $*" >&2
  exit 2
}

if [ -z "${VIRTUAL_ENV:-}" ] && [ -f "$ROOT/.venv/bin/activate" ]; then
  # shellcheck source=/dev/null
  source "$ROOT/.venv/bin/activate"
fi

# The user directory that fairseq loads. Experiments name another one, such as scripts/ablations.
USER_DIR=${FAIRSEQ_LRN_USER_DIR:-$ROOT/fairseq_lrn}

need_environment() {
  command -v fairseq-train >/dev/null ||
    fail "no environment with fairseq is active: run bash scripts/setup.sh first"
}

# Data that prepare_text.py made must be whole before anything is trained on it.
check_data() { # directory source target
  local name
  for name in "dict.$2.txt" "dict.$3.txt" "train.$2-$3.$2.bin" "valid.$2-$3.$2.bin"; do
    [ -f "$1/$name" ] || fail "$1 lacks $name: remove $1 and run this command again"
  done
}

# A command of fairseq failed. If a damaged checkpoint is the reason, say just that.
fail_with() { # message log [checkpoint]
  if [ -f "${3:-}" ]; then
    python "$ROOT/scripts/check_checkpoint.py" "$3" >&2 || exit 2
  fi
  tail -n 20 "$2" >&2
  fail "$1; its messages are in $2"
}

# Trains, showing progress line by line; everything printed is added to train.log. The
# directory given first holds train.log and checkpoints; training that was interrupted goes on.
train() { # directory data options...
  local log=$1/train.log checkpoints=$1/checkpoints
  [ -f "$checkpoints/checkpoint_last.pt" ] || rm -f "$log"
  # Large tensors on huge pages, where Linux gives them on request: fewer of them to look up.
  GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1} \
    fairseq-train "${@:2}" --user-dir "$USER_DIR" --save-dir "$checkpoints" \
    --no-progress-bar --log-format simple 2>"$log.stderr" | tee -a "$log" |
    sed -u -n -E "s/^.*\| (epoch .*|train_inner.*|valid.*|done training.*|Loaded .*)/\1/p" ||
    fail_with "training failed" "$log.stderr" "$checkpoints/checkpoint_last.pt"
}

# Translates a subset with beam 5 into generate-SUBSET.txt in the directory given first.
# Batches need not be a multiple of 8: fairseq would leave out the sentences that remain.
generate() { # directory data checkpoint subset [options]
  local output=$1/generate-$4.txt log=$1/generate-$4.log
  fairseq-generate "$2" --user-dir "$USER_DIR" --task translation_lrn --path "$3" \
    --gen-subset "$4" --beam 5 "${@:5}" --remove-bpe sentencepiece --batch-size 64 --required-batch-size-multiple 1 \
    >"$output.incomplete" 2>"$log" || {
    rm -f "$output.incomplete"
    fail_with "fairseq-generate failed" "$log" "$3"
  }
  mv "$output.incomplete" "$output"
}

# Multi30k English-German in the directory given first: raw/ (downloaded, unless the second
# argument has the files) and data-bin/. Sets raw to where the files are. The options say how
# large the vocabulary is.
prepare_multi30k() { # directory raw options...
  local url=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw
  local split lang file
  raw=$2
  mkdir -p "$1"
  lock "$1"
  if [ -z "$raw" ]; then
    raw=$1/raw
    mkdir -p "$raw"
    for split in train val test_2016_flickr; do
      for lang in en de; do
        file=$raw/$split.$lang
        [ -s "$file" ] && continue
        echo "multi30k: downloading $split.$lang"
        download "$url/$split.$lang.gz" "$file.gz" "give a directory that has the raw files"
        gunzip -c "$file.gz" >"$file.incomplete"
        mv "$file.incomplete" "$file"
      done
    done
  fi
  for split in train val test_2016_flickr; do
    for lang in en de; do
      [ -s "$raw/$split.$lang" ] || fail "$raw/$split.$lang is missing or empty"
    done
  done
  raw=$(cd "$raw" && pwd)
  reuse_or_prepare "$1/data-bin" "$raw/train" --source-lang en --target-lang de --lowercase \
    --trainpref "$raw/train" --validpref "$raw/val" --testpref "$raw/test_2016_flickr" \
    "${@:3}"
  check_data "$1/data-bin" en de
  exec 9>&-
}

# Until file 9 is closed: another command may be preparing data in this directory.
lock() { # directory
  exec 9>"$1/.lock"
  ! command -v flock >/dev/null || flock 9
}

download() { # url file remedy
  local error
  error=$(
    python - "$1" "$2" <<'END' 2>&1
import sys
from http.client import HTTPException
from urllib.request import urlretrieve

try:
    urlretrieve(*sys.argv[1:])
except (OSError, HTTPException) as error:
    sys.exit(str(error))
END
  ) || fail "cannot download $1 ($error): $3"
}

# Data that are there are taken if they were made from the same training text, with as large a
# vocabulary.
reuse_or_prepare() { # directory trainpref options...
  if [ -d "$1" ]; then
    grep -qF "\"$2\"" "$1/prepare.json" ||
      fail "$1 was not prepared from ${2%/*}: choose another --dir, or remove it"
    local index option
    for ((index = 3; index < $#; index++)); do
      case ${!index} in
        --vocab-size | --bpe-merges)
          option=${!index#--} option=${option/-/_} index=$((index + 1))
          grep -qF "\"$option\": ${!index}," "$1/prepare.json" ||
            fail "$1 was not prepared with ${option/_/ } ${!index}: choose another --dir, or remove it"
          ;;
      esac
    done
    echo "reusing $1"
  else
    fairseq-lrn prepare "${@:3}" --destdir "$1"
  fi
}

# The mean of the last checkpoints, at most as many as asked for, in averaged.pt: those saved by
# the number of updates, or where there are none, at the end of an epoch and of the training, which
# may be within an epoch.
average_last() { # checkpoints count
  local files kind=update
  mapfile -t files < <(find "$1" -name 'checkpoint_[0-9]*_[0-9]*.pt' | sort -V)
  if [ ${#files[@]} -eq 0 ]; then
    kind=epoch
    mapfile -t files < <(find "$1" -name 'checkpoint[0-9]*.pt' | sort -V)
    if [ -f "$1/checkpoint_last.pt" ] &&
      ! { [ ${#files[@]} -gt 0 ] && cmp -s "$1/checkpoint_last.pt" "${files[-1]}"; }; then
      files+=("$1/checkpoint_last.pt")
    fi
  fi
  [ ${#files[@]} -gt 0 ] || fail "there is no checkpoint in $1: train for longer"
  local first=$((${#files[@]} > $2 ? ${#files[@]} - $2 : 0))
  echo "average the last $((${#files[@]} - first)) ${kind}s"
  fairseq-lrn average --inputs "${files[@]:first}" \
    --output "$1/averaged.pt"
}
