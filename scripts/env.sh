# Sourced by the other scripts: finds the checkout and the virtual environment, and defines the
# functions that the scripts share. An active environment takes precedence over .venv in the checkout.

unset CDPATH # with it, cd prints the directory
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "error: $*" >&2
  exit 2
}

# --help prints the comment at the head of the script, also where nothing is set up yet.
for argument in "$@"; do
  case $argument in
    -h | --help) sed -n '2,/^[^#]/ { /^#/ s/^# \{0,1\}//p }' "$0" && exit ;;
    --) break ;;
  esac
done

if [ -z "${VIRTUAL_ENV:-}" ] && [ -f "$ROOT/.venv/bin/activate" ]; then
  # shellcheck source=/dev/null
  source "$ROOT/.venv/bin/activate"
fi

# bfloat16 in training, if the processor supports it. Training on a GPU is in float32: transformer_lrn in
# bfloat16 almost came to a halt on one.
BFLOAT16=
if grep -qwE 'avx512_bf16|amx_bf16|bf16' /proc/cpuinfo 2>/dev/null &&
  ! nvidia-smi --list-gpus >/dev/null 2>&1; then
  BFLOAT16="--autocast bfloat16"
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

# Fails unless an option has a value.
need_value() { # option, value
  [[ -n ${2:-} && $2 != -* ]] || fail "$1 needs a value: see bash $0 --help"
}

# Fails if an option is among the fairseq-train options.
refuse() { # option, what is wrong with it
  local option
  for option in "${options[@]}"; do
    [[ $option != "$1" && $option != "$1="* ]] || fail "$1 $2"
  done
}

# The same for the options that train sets.
refuse_fixed_options() {
  refuse --save-dir "has no effect after --: give --dir DIR before it"
  refuse --user-dir "has no effect after --: set FAIRSEQ_LRN_USER_DIR"
  refuse --log-format "has no effect: the script reads the log"
}

# The names of the cells, as in fairseq_lrn/modules/cells.py.
CELLS="lrn olrn atr sru gru lstm"

# Reads the arguments of a script. Sets raw to RAW_DIR (empty without one), options to what follows "--",
# directory to the value of --dir, and for each other option a variable of the same name, train_only for
# --train-only. A flag sets its variable to 1. The caller sets the defaults, among them that of directory.
# With models, --model is one of them, the first by default, and run_name is MODEL-SEED.
parse_arguments() { # names of models, other options with a value, flags, arguments...
  local models=$1 valued=" --dir $2 " flags=" $3 " name
  [ -z "$models" ] || valued+="--model " model=${models%% *}
  raw='' options=()
  shift 3
  while [ $# -gt 0 ]; do
    name=${1#--} name=${name//-/_}
    case $1 in
      --) shift && options=("$@") && break ;;
      -*)
        if [[ $flags == *" $1 "* && $1 != *' '* ]]; then
          printf -v "$name" 1
        else
          [[ $valued == *" $1 "* && $1 != *' '* ]] ||
            fail "unknown option $1; put fairseq-train options after --"
          need_value "$@"
          [ "$1" != --dir ] || name=directory
          printf -v "$name" %s "$2"
          shift
        fi
        ;;
      *) take_raw "$1" ;;
    esac
    shift
  done
  for name in $valued; do
    case $name in
      --updates | --epochs | --rounds) need_number "$name" 1 ;;
      --seed | --limit) need_number "$name" 0 ;;
      --model) need_name "$name" "$model" "$models" ;;
    esac
  done
  [[ $valued != *" --updates "* ]] ||
    refuse --max-update "has no effect on the schedule: give --updates N before --"
  [[ $valued != *" --epochs "* ]] ||
    refuse --max-epoch "has no effect on the learning rate: give --epochs N before --"
  [[ $valued != *" --seed "* ]] ||
    refuse --seed "is part of the run's name: give it before --"
  refuse_fixed_options
  run_name=${model:-}-${seed:-}
}

# Fails unless the variable of an option is a number, or empty.
need_number() { # option, the smallest number: 0 or 1
  local name=${1#--} pattern='^[0-9]*$' condition=
  [ "$2" = 0 ] || pattern='^([1-9][0-9]*)?$' condition=" above 0"
  [[ ${!name} =~ $pattern ]] || fail "$1 must be a number$condition, not ${!name}"
}

# Fails unless a value is one of some names.
need_name() { # option, value, names
  local name
  for name in $3; do
    [ "$2" != "$name" ] || return 0
  done
  fail "$1 must be one of $3, not $2"
}

# Sets raw, of which there is one.
take_raw() { # RAW_DIR
  [ -z "$raw" ] || fail "give one RAW_DIR, not $raw and $1"
  raw=$1
}

# Makes the directory that a script writes to, and its path absolute: records of prepared data have it.
make_directory() {
  mkdir -p "$directory"
  directory=$(cd "$directory" && pwd)
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

REFUSED=3

# Shows in which options two command lines differ.
show_differences() { # the recorded one, the new one
  diff <(echo "${1// --/$'\n'--}") <(echo "${2// --/$'\n'--}") |
    sed -n 's/^</  before:/p; s/^>/  now:   /p' >&2 || true
}

# Trains a model unless it is trained already: if a finished run is started again, fairseq makes one more
# update. The checkpoints of a run belong to one set of options and data; with others, the exit status is
# REFUSED.
train_once() { # title, run's directory, data, options of the model in one string, further options...
  local checkpoints=$2/checkpoints words options_now options_then
  read -rd '' -a words <<<"$4" || true
  words+=("${@:5}")
  options_now="${words[*]}"
  options_now="dictionary $(checksum "$3") ${options_now//"$3"/DATA}"
  if [ -f "$checkpoints/checkpoint_last.pt" ]; then
    options_then=$(cat "$checkpoints"/{trained,begun}-with 2>/dev/null) || true # one of the two
    # The recipes choose bfloat16 by the processor. A finished run can be used on any.
    if [ -f "$checkpoints/trained-with" ]; then
      options_then=${options_then/ --autocast bfloat16/}
      options_now=${options_now/ --autocast bfloat16/}
    fi
    if [ "$options_then" != "$options_now" ]; then
      echo "error: $2 was trained with other options or data. Remove it, or choose another --dir" >&2
      show_differences "$options_then" "$options_now"
      exit "$REFUSED"
    fi
    if [ -f "$checkpoints/trained-with" ]; then
      echo "$1: trained already"
      return
    fi
  fi
  mkdir -p "$checkpoints"
  rm -f "$checkpoints/trained-with"
  echo "$options_now" >"$checkpoints/begun-with"
  echo "$1: train"
  train "$2" "$3" "${words[@]}"
  mv "$checkpoints/begun-with" "$checkpoints/trained-with"
}

# A number that changes with the dictionaries and the word vectors of prepared data.
checksum() { # data
  find "$1" \( -name 'dict*.txt' -o -name vectors.txt \) -print0 | LC_ALL=C sort -z | xargs -0 cat | cksum |
    cut -d ' ' -f 1
}

# Trains and shows progress line by line. The run's directory holds the checkpoints and train.log,
# to which all output is appended. An interrupted training run is resumed. One process, because the size
# of a batch grows with their number.
train() { # run's directory, data, options...
  local log=$1/train.log checkpoints=$1/checkpoints
  # The figures of an earlier run, whose checkpoints were removed, would stand beside this one's in tables.
  [ -f "$checkpoints/checkpoint_last.pt" ] ||
    rm -f "$log" "$1"/{generate,score}-{valid,test}.txt "$1"/eval-{valid,test}.log
  # Large tensors on huge pages, where Linux grants them on request, need fewer page look-ups.
  GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1} \
    fairseq-train "$2" --distributed-world-size 1 "${@:3}" --user-dir "$USER_DIR" \
    --save-dir "$checkpoints" --no-progress-bar --log-format simple 2>"$log.stderr" | tee -a "$log" |
    sed -u -n -E "s/^.*\| (epoch .*|train_inner.*|valid.*|example [0-9].*|done training.*|Loaded .*)/\1/p" ||
    fail_with "training failed" "$log.stderr" "$checkpoints/checkpoint_last.pt"
}

# Translates a subset with beam 5 into generate-SUBSET.txt in the run's directory.
generate() { # run's directory, data, checkpoint, subset, [options...]
  local output=$1/generate-$4.txt log=$1/generate-$4.log
  fairseq-generate "$2" --user-dir "$USER_DIR" --task translation_lrn --path "$3" \
    --gen-subset "$4" --beam 5 "${@:5}" --remove-bpe sentencepiece --batch-size 64 \
    >"$output.incomplete" 2>"$log" || {
    rm -f "$output.incomplete"
    fail_with "fairseq-generate failed" "$log" "$3"
  }
  mv "$output.incomplete" "$output"
}

# Prepares Multi30k English-German in $directory/data-bin. Downloads the raw text to $directory/raw, unless
# RAW_DIR is given. Sets raw to the directory of the raw text. The options set the vocabulary size.
prepare_multi30k() { # options...
  local url=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw split lang names=()
  make_directory
  lock "$directory"
  for split in train val test_2016_flickr; do
    for lang in en de; do
      names+=("$split.$lang")
    done
  done
  if [ -z "$raw" ]; then
    [ -d "$directory/raw" ] || [ ! -d "$directory/data-bin" ] ||
      fail "$directory/data-bin was prepared from raw text elsewhere: give RAW_DIR"
    download_raw "$url" .gz "${names[@]}"
  fi
  check_raw "give RAW_DIR" "${names[@]}"
  prepare_once "$directory/data-bin" "${names[@]/#/$raw/}" -- fairseq-lrn prepare --source-lang en \
    --target-lang de --lowercase --trainpref "$raw/train" --validpref "$raw/val" \
    --testpref "$raw/test_2016_flickr" "$@"
  check_data "$directory/data-bin" en de
  exec 9>&-
}

# Waits until no other command prepares data in the directory. The lock lasts until file
# descriptor 9 is closed.
lock() { # directory
  exec 9>"$1/.lock"
  ! command -v flock >/dev/null || flock 9
}

# Downloads files that are missing to $directory/raw, and sets raw to it.
download_raw() { # URL of their directory, .gz or empty, names...
  local name error
  raw=$directory/raw
  mkdir -p "$raw"
  for name in "${@:3}"; do
    [ ! -s "$raw/$name" ] || continue
    echo "$(basename "$0" .sh): downloading $name"
    error=$(
      python - "$1/$name$2" "$raw/$name.incomplete" <<'END' 2>&1
import gzip, sys, zlib
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlretrieve

url, path = sys.argv[1:]
try:
    urlretrieve(url, path)  # it notices the end of a connection
    if url.endswith(".gz"):
        content = gzip.decompress(Path(path).read_bytes())
        Path(path).write_bytes(content)
except (OSError, EOFError, zlib.error, HTTPException) as error:
    sys.exit(str(error))
END
    ) || fail "cannot download $1/$name$2 ($error): give a directory that has the raw files"
    mv "$raw/$name.incomplete" "$raw/$name"
  done
}

# Prepares data with a command, to which --destdir is added, or reuses data that the same command made of
# the same files. DATA.origin records both.
prepare_once() { # data, files..., --, command...
  local data=$1 origin=$1.origin word now='' files=''
  shift
  while [ "$1" != -- ]; do
    files+="${1##*/} $(cksum <"$1")"$'\n'
    shift
  done
  shift
  for word in "$@"; do # the files may be moved
    [[ $word != /* ]] || word=${word##*/}
    now+=" $word"
  done
  now="${now# }"$'\n'"${files%$'\n'}"
  if [ ! -d "$data" ]; then
    echo "$now" >"$origin"
    "$@" --destdir "$data"
  elif [ ! -f "$origin" ]; then
    fail "there is no record of what $data was prepared from: remove it, or choose another --dir"
  elif [ "$(cat "$origin")" != "$now" ]; then
    echo "error: $data was prepared from other files or with other options. Remove it, or choose another" \
      "--dir" >&2
    show_differences "$(cat "$origin")" "$now"
    exit 2
  else
    echo "reusing $data"
  fi
}

# Averages the end of a training run, and sets averaged to the mean or, if that is no worse on the
# validation set, to the best checkpoint.
average_run() { # directory of checkpoints, options of fairseq-lrn average
  averaged=$(fairseq-lrn average "$@" --user-dir "$USER_DIR")
  echo "translate with $averaged"
}
