# Sourced by imdb.sh, snli.sh, conll2003.sh and squad.sh: preparing labelled text and training on it. All
# models of a script differ in their cell only.

# Sets raw, directory, model, seed, run_name, updates, options and vectors from a script's arguments, and
# what the further options set. Without --vectors, the vectors are those in RAW_DIR or in the directory
# glove beside it.
parse_labelled() { # name of the script, its default of --updates, suffix, further options, arguments...
  directory=$ROOT/$1 seed=1 updates=$2 vectors=
  parse_arguments "$CELLS" "--seed --updates --vectors $4" "" "${@:5}"
  check_raw "bash scripts/$1.sh RAW_DIR" "train.$3" "valid.$3"
  if [ -z "$vectors" ]; then
    local found
    found=$(find "$raw" "$raw/../glove" -maxdepth 1 -name '*.100d*.txt*' 2>/dev/null) || true
    [ -n "$found" ] ||
      fail "there are no word vectors (*.100d*.txt or .txt.gz) in $raw: give --vectors FILE"
    [[ $found != *$'\n'* ]] || fail "$raw has several files of word vectors: give --vectors FILE"
    vectors=$found
  fi
  [ -s "$vectors" ] || fail "$vectors is missing or empty"
  vectors=$(realpath "$vectors")
}

# Prepares the texts in DIRECTORY/data.
prepare_labelled() { # suffix of files, options...
  make_directory
  local files=("$raw/train.$1" "$raw/valid.$1") test=()
  [ ! -s "$raw/test.$1" ] || test=(--testpref "$raw/test.$1") files+=("$raw/test.$1")
  lock "$directory"
  prepare_once "$directory/data" "${files[@]}" "$vectors" -- fairseq-lrn prepare-labelled \
    --trainpref "$raw/train.$1" --validpref "$raw/valid.$1" "${test[@]}" --vectors "$vectors" "${@:2}"
  exec 9>&-
}

# Trains, and prints the metric of the validation texts, and of the test texts if there are any.
run_labelled() { # name of the recipe, metric, suffix of files
  local recipe subset
  recipe=$(labelled_recipe "$1")
  train_labelled "$recipe" "$2"
  local task=${recipe#*--task }
  for subset in valid test; do
    [ ! -s "$raw/$subset.$3" ] ||
      score_labelled "$directory/$run_name" "$directory/data" "$subset" "$2" "${task%% *}"
  done
}

labelled_recipe() { python "$ROOT/scripts/benchmarks/labelled_recipes.py" "$1"; }

# Prints options whose warm-up is at most a quarter of the updates.
short_warmup() { # options, updates
  local warmup=${1##*--warmup-updates } limit=$((($2 + 3) / 4))
  warmup=${warmup%% *}
  echo "${1/--warmup-updates $warmup/--warmup-updates $((warmup < limit ? warmup : limit))}"
}

# Trains, and keeps the checkpoint with the largest metric on the validation texts.
train_labelled() { # recipe, metric
  local data=$directory/data
  train_once "$model, seed $seed" "$directory/$run_name" "$data" \
    "$(short_warmup "$1" "$updates") --cell $model" \
    --word-vectors "$data/vectors.txt" --optimizer torch_adam --log-interval 50 \
    --no-epoch-checkpoints --best-checkpoint-metric "$2" --maximize-best-checkpoint-metric \
    --max-update "$updates" --seed "$seed" "${options[@]}"
}

# Prints "SUBSET METRIC X".
score_labelled() { # run's directory, data, subset, metric, task
  local log=$1/validate-$3.log value
  fairseq-validate "$2" --user-dir "$USER_DIR" --valid-subset "$3" --task "$5" \
    --path "$1/checkpoints/checkpoint_best.pt" --batch-size 32 --distributed-world-size 1 \
    >"$log" 2>&1 ||
    fail_with "fairseq-validate failed" "$log" "$1/checkpoints/checkpoint_best.pt"
  value=$(sed -nE "s/.*\| $4 ([0-9.]+).*/\1/p" "$log" | tail -n 1)
  [ -n "$value" ] || fail_with "fairseq-validate printed no $4" "$log"
  echo "$3 $4 $value"
}
