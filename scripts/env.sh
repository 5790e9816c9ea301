# Sourced by the other scripts: finds the checkout and the virtual environment, and defines the
# functions that the scripts share. An active environment takes precedence over .venv in the checkout.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "error: $*" >&2
  exit 2
}

if [ -z "${VIRTUAL_ENV:-}" ] && [ -f "$ROOT/.venv/bin/activate" ]; then
  # shellcheck source=/dev/null
  source "$ROOT/.venv/bin/activate"
fi

# The user directory that fairseq loads. Experiments set another one, such as scripts/ablations.
USER_DIR=${FAIRSEQ_LRN_USER_DIR:-$ROOT/fairseq_lrn}

need_environment() {
  command -v fairseq-train >/dev/null ||
    fail "no environment with fairseq is active: run bash scripts/setup.sh first"
}

# Fails if prepared data lack a file that training needs.
check_data() { # directory source target
  local name
  for name in "dict.$2.txt" "dict.$3.txt" "train.$2-$3.$2.bin" "valid.$2-$3.$2.bin"; do
    [ -f "$1/$name" ] || fail "$1 lacks $name: remove $1 and run this command again"
  done
}

# Reports that a fairseq command failed, with the end of its log. If the checkpoint is damaged,
# the message says only that.
fail_with() { # message log [checkpoint]
  if [ -f "${3:-}" ]; then
    python "$ROOT/scripts/check_checkpoint.py" "$3" >&2 || exit 2
  fi
  tail -n 20 "$2" >&2
  fail "$1; the full log is $2"
}

# Sets raw, directory, model, seed, updates, options and run_name from the arguments of a script that
# trains a model, and a variable of the same name for each further option, e.g. tokenizer for
# --tokenizer. The caller sets the defaults of directory and updates.
parse_arguments() { # names of models, further options, arguments...
  local models=$1 further=$2
  raw='' model=${models%% *} seed=1 options=()
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --dir) directory=${2:?--dir needs a directory} && shift ;;
      --model) model=${2:?--model needs one of $models} && shift ;;
      --updates) updates=${2:?--updates needs a number} && shift ;;
      --seed) seed=${2:?--seed needs a number} && shift ;;
      --) shift && options=("$@") && break ;;
      -*)
        [[ " $further " == *" $1 "* ]] ||
          fail "unknown option $1; put fairseq-train options after --"
        printf -v "${1#--}" %s "${2:?$1 needs a value}" && shift
        ;;
      *) raw=$1 ;;
    esac
    shift
  done
  [[ $updates =~ ^[1-9][0-9]*$ ]] || fail "--updates must be a number above 0, not $updates"
  [[ " $models " == *" $model "* ]] || fail "--model must be one of $models, not $model"
  run_name=$model-$seed
}

# Makes raw absolute, after checking that it has the files.
check_raw() { # command to show, files...
  local file files="${*:2}"
  [ -n "$raw" ] || fail "give a directory with ${files// / and }: $1"
  for file in "${@:2}"; do
    [ -s "$raw/$file" ] || fail "$raw/$file is missing or empty"
  done
  raw=$(cd "$raw" && pwd)
}

# Trains a model unless it is trained already. If a finished run is started again, fairseq makes one more
# update: skip it. With other options, training continues, and a message says so.
train_once() { # run's directory, data, options of the model, further options...
  local words trained_with
  read -rd '' -a words <<<"$3" || true
  trained_with="options: ${words[*]} --max-update $updates ${options[*]}"
  mkdir -p "$1"
  if [ "$(cat "$1/trained-with" 2>/dev/null)" = "$trained_with" ]; then
    echo "$model, seed $seed: trained already"
    return
  fi
  if [ -f "$1/trained-with" ]; then
    echo "$model, seed $seed: train on, with other options; until now with $(cat "$1/trained-with")"
  fi
  echo "$model, seed $seed: train"
  train "$1" "$2" "${words[@]}" "${@:4}" --max-update "$updates" --seed "$seed" "${options[@]}"
  echo "$trained_with" >"$1/trained-with"
}

# Trains and shows progress line by line. The run's directory holds the checkpoints and train.log,
# to which all output is appended. An interrupted training run is resumed.
train() { # run's directory, data, options...
  local log=$1/train.log checkpoints=$1/checkpoints
  [ -f "$checkpoints/checkpoint_last.pt" ] || rm -f "$log"
  # Large tensors on huge pages, where Linux grants them on request, need fewer page look-ups.
  GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1} \
    fairseq-train "${@:2}" --user-dir "$USER_DIR" --save-dir "$checkpoints" \
    --no-progress-bar --log-format simple 2>"$log.stderr" | tee -a "$log" |
    sed -u -n -E "s/^.*\| (epoch .*|train_inner.*|valid.*|example [0-9].*|done training.*|Loaded .*)/\1/p" ||
    fail_with "training failed" "$log.stderr" "$checkpoints/checkpoint_last.pt"
}

# Translates a subset with beam 5 into generate-SUBSET.txt in the run's directory. By default,
# fairseq makes batch sizes a multiple of 8 and leaves out the remaining sentences.
generate() { # run's directory, data, checkpoint, subset, [options...]
  local output=$1/generate-$4.txt log=$1/generate-$4.log
  fairseq-generate "$2" --user-dir "$USER_DIR" --task translation_lrn --path "$3" \
    --gen-subset "$4" --beam 5 "${@:5}" --remove-bpe sentencepiece --batch-size 64 \
    --required-batch-size-multiple 1 \
    >"$output.incomplete" 2>"$log" || {
    rm -f "$output.incomplete"
    fail_with "fairseq-generate failed" "$log" "$3"
  }
  mv "$output.incomplete" "$output"
}

# Prepares Multi30k English-German in DIRECTORY/data-bin. Downloads the raw text to DIRECTORY/raw,
# unless RAW names a directory that has it. Sets raw to the directory of the raw text. The options set
# the vocabulary size.
prepare_multi30k() { # directory, raw (may be empty), options...
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

# Waits until no other command prepares data in the directory. The lock lasts until file
# descriptor 9 is closed.
lock() { # directory
  exec 9>"$1/.lock"
  ! command -v flock >/dev/null || flock 9
}

download() { # URL, file, remedy
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

# Prepares data, or reuses existing data that were prepared from the same training text with the same
# vocabulary size and tokeniser.
reuse_or_prepare() { # directory, trainpref, options...
  if [ -d "$1" ]; then
    grep -qF "\"$2\"" "$1/prepare.json" ||
      fail "$1 was not prepared from ${2%/*}: choose another --dir, or remove $1"
    local index option found
    for ((index = 3; index < $#; index++)); do
      case ${!index} in
        --vocab-size | --bpe-merges | --tokenizer)
          option=${!index#--} option=${option/-/_} index=$((index + 1))
          found="\"$option\": (${!index}|\"${!index}\"),"
          case ${!index} in # older records say whether the text was tokenised
            moses) found+='|"tokenize": true' ;;
            none) found+='|"tokenize": false' ;;
          esac
          grep -qE "$found" "$1/prepare.json" ||
            fail "$1 was not prepared with ${option/_/ } ${!index}: choose another --dir, or remove $1"
          ;;
      esac
    done
    echo "reusing $1"
  else
    fairseq-lrn prepare "${@:3}" --destdir "$1"
  fi
}

# Averages the end of a training run, and sets averaged to the mean or, if that is no worse on the
# validation set, to the best checkpoint.
average_run() { # directory of checkpoints, options of fairseq-lrn average
  averaged=$(fairseq-lrn average "$@" --user-dir "$USER_DIR")
  echo "translate with $averaged"
}
