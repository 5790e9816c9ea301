# Sourced by multi30k.sh, tatoeba.sh, ablations.sh and choose_recipe.sh: the training recipe of each
# model. All models are trained on the same data for the same number of updates. A quarter of the updates,
# at most 2000, are warm-up. All models use the faster loss and optimiser. On a CPU, all except the tiny
# transformer, which is slower in bfloat16, are trained in bfloat16.

# The first four have about the same number of parameters. lstm_256 is twice as wide as lstm, and has three
# times as many.
MODELS="lrn transformer_lrn transformer lstm lstm_256 lrn_512 transformer_512 lstm_512"

# The faster loss and optimiser.
FAST="--optimizer torch_adam --criterion fused_label_smoothed_cross_entropy"

# Sets model_options to the fairseq-train options of a model. The recipe "equal" is R-Drop and a cooldown
# for every model; those that are 512 wide have the cooldown alone. R-Drop runs each batch through the model
# twice, and helps only once the model fits its training text, so it is on in the second half of training.
# The learning rate falls to 0 in the last fifth (cooldown). The learning rate and the norm of each model come
# from earlier trials; choose_recipe.sh compares them by one rule. The recipe "published" is that of the
# tiny transformer of Wu et al. (2021), "Good for Misconceived Reasons": no R-Drop, no cooldown.
set_model_options() { # model, updates, recipe
  local size='' schedule="--lr-scheduler inverse_sqrt_cooldown --cooldown-updates $((($2 + 4) / 5))"
  if [[ $1 != *_512 ]]; then
    schedule+=" --rdrop-alpha 3 --rdrop-from-update $(($2 / 2))"
    [ "$3" = equal ] || schedule="--lr-scheduler inverse_sqrt"
  fi
  case $1 in
    lrn | transformer_lrn) ;;
    transformer) size=transformer_tiny ;;
    *) size=$1 ;;
  esac
  # With "fail", because choose_recipe.sh calls this where errors do not end a script.
  [ -z "$size" ] || size=$(python "$ROOT/scripts/benchmarks/model_options.py" "$size") ||
    fail "there are no options of $1"
  case $1 in
    lrn | transformer_lrn) model_options="--arch $1_multi30k $FAST $BFLOAT16 $schedule --lr 0.005" ;;
    transformer) model_options="$size --dropout 0.3 $FAST $schedule --lr 0.005" ;;
    lstm*) model_options="$size --dropout 0.3 --clip-norm 1.0 $FAST $BFLOAT16 $schedule --lr 0.002" ;;
    # To compare decoding speed.
    lrn_512) model_options="$size --dropout 0.3 $FAST $BFLOAT16 $schedule --lr 0.002" ;;
    transformer_512) model_options="$size --dropout 0.3 $FAST $BFLOAT16 $schedule --lr 0.001" ;;
  esac
}

# Sets raw, directory, model, seed, run_name, updates, tokenizer, recipe and options from a script's
# arguments.
parse_recipe() { # default of --dir, names of the further options, arguments...
  directory=$1 seed=1 updates=8000 tokenizer=moses recipe=equal
  parse_arguments "$MODELS" "--seed --updates $2" "" "${@:3}"
  case $recipe in
    equal) ;;
    published)
      [[ $model != *_512 ]] || fail "--recipe has no effect on $model: leave it out"
      run_name=$model-published-$seed
      ;;
    *) fail "--recipe must be equal or published, not $recipe" ;;
  esac
}

# Trains in $directory/$run_name. Batches have at most 4096 tokens. The caller may set title, the name in
# messages.
train_recipe() { # source language, target language
  local model_options
  set_model_options "$model" "$updates" "$recipe"
  train_once "${title:-$model, seed $seed}" "$directory/$run_name" "$directory/data-bin" "$model_options" \
    --source-lang "$1" --target-lang "$2" --adam-betas '(0.9, 0.98)' --label-smoothing 0.1 \
    --warmup-updates "$((updates < 8000 ? (updates + 3) / 4 : 2000))" --warmup-init-lr 1e-7 \
    --max-tokens 4096 --log-interval 100 --keep-last-epochs 10 \
    --max-update "$updates" --seed "$seed" "${options[@]}"
}

# Trains, averages checkpoints, and translates each subset with beam 5, in $directory/$run_name.
run_recipe() { # source language, target language, subsets...
  local run=$directory/$run_name subset
  train_recipe "$1" "$2"
  average_run "$run/checkpoints"
  for subset in "${@:3}"; do
    echo "${title:-$model, seed $seed}: generate $subset (beam 5)"
    generate "$run" "$directory/data-bin" "$averaged" "$subset"
    tail -n 1 "$run/generate-$subset.txt"
  done
  python "$ROOT/scripts/validation_table.py" "$run/train.log" >"$run/validation.md"
}

# Prints BLEU and chrF of a subset, and keeps them in the run's directory for results_table.py. The last
# line is "SUBSET bleu X", BLEU of the lower-cased tokens as fairseq computes it.
score_run() { # subset, reference
  local run=$directory/$run_name
  fairseq-lrn score "$run/generate-$1.txt" "$2" -lc | tee "$run/score-$1.txt"
  echo "$1 bleu $(sed -nE 's/.* BLEU4 = ([0-9.]+),.*/\1/p' "$run/generate-$1.txt" | tail -n 1)"
}
