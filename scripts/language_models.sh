# Sourced by ptb.sh and wikitext2.sh: preparing a text of words, and the training recipe of each
# language model. All models see the same text. lrn is this project's recipe and paper the authors'.
# The other cells are trained like lrn, and fairseq's models on blocks of the same text.

LANGUAGE_MODELS="lrn paper lstm gru sru atr lstm_lm transformer_lm"

# Sets raw, directory, model, seed, run_name, updates and options from a script's arguments.
parse_language_model() { # name of the script, its default of --updates, arguments...
  directory=$ROOT/$1 seed=1 updates=$2
  parse_arguments "$LANGUAGE_MODELS" "--seed --updates" "" "${@:3}"
  check_raw "bash scripts/$1.sh RAW_DIR" train.txt valid.txt
}

# Binarises the text in DIRECTORY/data-bin.
prepare_words() {
  make_directory
  local files=("$raw/train.txt" "$raw/valid.txt") test=()
  [ ! -s "$raw/test.txt" ] || test=(--testpref "$raw/test.txt") files+=("$raw/test.txt")
  lock "$directory"
  prepare_once "$directory/data-bin" "${files[@]}" -- fairseq-lrn prepare-lm --words \
    --trainpref "$raw/train.txt" --validpref "$raw/valid.txt" "${test[@]}"
  exec 9>&-
}

# Options of all models that carry their state: ordered columns, segments of varied length.
STATEFUL="--task stateful_language_modeling --tokens-per-sample 70 --vary-segments
  --criterion language_model_cross_entropy"

# Sets recipe to the fairseq-train options of a model.
set_language_model_options() { # model, architecture of paper, its options
  local schedule="--optimizer torch_adam --adam-betas (0.9,0.99) --lr 0.003 --clip-norm 0.25
    --weight-decay 0.1 --lr-scheduler cosine --warmup-updates $((updates < 2000 ? (updates + 3) / 4 : 500))"
  local regularised="--locked-dropout --dropout 0.35 --decoder-dropout-out 0.2 --type-dropout 0.05
    --temporal-activation-reg 1"
  # On a CPU the full softmax would be two thirds of the work. A fifth of the words, the most frequent
  # ones, are six sevenths of the text.
  local words cutoff
  words=$(wc -l <"$directory/data-bin/dict.txt")
  cutoff=$((words / 5 + 1))
  local common="--arch lrn_lm --share-decoder-input-output-embed --decoder-embed-dim 400
    --decoder-layers 3 --decoder-normalize-before --no-scale-embedding --batch-size 10
    --adaptive-softmax-cutoff $cutoff --adaptive-softmax-factor 1"
  case $1 in
    lrn)
      recipe="$STATEFUL $common $schedule $regularised --decoder-hidden-size 400
        --layernorm-projection --weight-dropout 0.2 $BFLOAT16"
      ;;
    # The same residual layers around other cells, with the hidden size that gives as many parameters.
    # They have neither a norm of the projections nor DropConnect.
    lstm) recipe="$STATEFUL $common $schedule $regularised --decoder-hidden-size 222 --cell lstm $BFLOAT16" ;;
    gru) recipe="$STATEFUL $common $schedule $regularised --decoder-hidden-size 267 --cell gru $BFLOAT16" ;;
    sru) recipe="$STATEFUL $common $schedule $regularised --decoder-hidden-size 320 --cell sru $BFLOAT16" ;;
    atr) recipe="$STATEFUL $common $schedule $regularised --decoder-hidden-size 495 --cell atr $BFLOAT16" ;;
    paper)
      recipe="$STATEFUL --arch $2 --optimizer averaged_sgd --nonmonotone-interval 5
        --weight-decay 1.2e-6 --clip-norm 0.25 --scale-lr-by-length --activation-reg 2
        --temporal-activation-reg 1 $3"
      ;;
    lstm_lm)
      recipe="--task language_modeling --tokens-per-sample 70 --arch lstm_lm --criterion cross_entropy
        --decoder-embed-dim 400 --decoder-out-embed-dim 400 --decoder-hidden-size 330
        --decoder-layers 2 --share-decoder-input-output-embed --dropout 0.4
        --batch-size 10 --required-batch-size-multiple 1 $schedule"
      ;;
    transformer_lm)
      recipe="--task language_modeling --tokens-per-sample 256 --arch transformer_lm
        --criterion cross_entropy --decoder-embed-dim 400 --decoder-ffn-embed-dim 400
        --decoder-input-dim 400 --decoder-output-dim 400
        --decoder-layers 2 --decoder-attention-heads 8 --share-decoder-input-output-embed
        --dropout 0.3 --batch-size 3 --required-batch-size-multiple 1 ${schedule/0.003/0.001}"
      ;;
  esac
}

# Trains, and prints the perplexity of the validation text, and of the test text if there is one.
run_language_model() { # architecture of paper, its options
  local run=$directory/$run_name task recipe
  set_language_model_options "$model" "$1" "$2"
  train_once "$model, seed $seed" "$run" "$directory/data-bin" "$recipe" --log-interval 200 \
    --no-epoch-checkpoints --max-update "$updates" --seed "$seed" "${options[@]}"
  task=stateful_language_modeling
  [[ $model != *_lm ]] || task=language_modeling
  perplexity "$run" "$task" valid
  [ ! -s "$raw/test.txt" ] || perplexity "$run" "$task" test
}

# Prints "SUBSET ppl X". fairseq's models keep no state: lstm_lm reads 1,000 tokens before each block of
# 70, and transformer_lm, whose samples have 256 tokens, 192 tokens before each block of 64.
perplexity() { # run's directory, task, subset
  local log=$1/eval-$3.log context=() value
  case $model in
    lstm_lm) context=(--tokens-per-sample 1070 --context-window 1000 --max-tokens 1000) ;;
    transformer_lm) context=(--tokens-per-sample 256 --context-window 192 --max-tokens 1000) ;;
  esac
  fairseq-eval-lm "$directory/data-bin" --user-dir "$USER_DIR" --task "$2" --gen-subset "$3" \
    --path "$1/checkpoints/checkpoint_best.pt" --required-batch-size-multiple 1 \
    "${context[@]}" >"$log" 2>&1 ||
    fail_with "fairseq-eval-lm failed" "$log" "$1/checkpoints/checkpoint_best.pt"
  value=$(sed -nE 's/.*Perplexity: ([0-9.]+|inf|nan).*/\1/p' "$log" | tail -n 1)
  [ -n "$value" ] || fail_with "fairseq-eval-lm printed no perplexity" "$log"
  echo "$3 ppl $value"
}
