# Sourced by multi30k.sh, ablations.sh and tatoeba.sh: the training recipe of each model. All models
# are trained on the same data for the same number of updates. A quarter of the updates, at most 2000,
# are warm-up. All models use the faster loss and optimiser. On a CPU, all except the tiny transformer,
# which is slower in bfloat16, are trained in bfloat16.

MODELS="lrn transformer_lrn transformer transformer_rdrop lstm lrn_512 transformer_512 lstm_512"

# The faster loss and optimiser, and bfloat16 if the processor supports it. Training on a GPU is in
# float32: transformer_lrn in bfloat16 almost came to a halt on one.
FAST="--optimizer torch_adam --criterion fused_label_smoothed_cross_entropy"
BFLOAT16=
if grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null &&
  ! nvidia-smi --list-gpus >/dev/null 2>&1; then
  BFLOAT16="--autocast bfloat16"
fi

# Prints the fairseq-train options of a model. R-Drop runs each batch through the model twice, and helps
# only once the model fits its training text, so it is on in the second half of training. The learning
# rate falls to 0 in the last fifth (cooldown). "transformer" is the tiny transformer of Wu et al. (2021),
# "Good for Misconceived Reasons"; transformer_rdrop is the same model, trained like lrn and
# transformer_lrn.
model_options() { # model, updates
  local schedule="--lr-scheduler inverse_sqrt"
  local cooldown="--lr-scheduler inverse_sqrt_cooldown --cooldown-updates $((($2 + 4) / 5))"
  local rdrop="--rdrop-alpha 3 --rdrop-from-update $(($2 / 2)) $cooldown"
  case $1 in
    lrn) echo "--arch lrn_multi30k $FAST $BFLOAT16 $rdrop --lr 0.005" ;;
    transformer_lrn)
      echo "--arch transformer_lrn_multi30k $FAST $BFLOAT16 $rdrop --lr 0.005"
      ;;
    transformer_rdrop)
      local plain
      plain=$(model_options transformer "$2")
      echo "${plain/$schedule/$rdrop}"
      ;;
    transformer)
      echo "$(architecture transformer_tiny) --dropout 0.3 $FAST $schedule --lr 0.005"
      ;;
    # Equal sizes, to compare decoding speed: all three in bfloat16, with a cooldown.
    lrn_512) echo "$(architecture "$1") --dropout 0.3 $FAST $BFLOAT16 $cooldown --lr 0.002" ;;
    transformer_512) echo "$(architecture "$1") --dropout 0.3 $FAST $BFLOAT16 $cooldown --lr 0.001" ;;
    lstm_512)
      echo "$(architecture "$1") --dropout 0.3 --clip-norm 1.0 $FAST $BFLOAT16 $cooldown --lr 0.002"
      ;;
    lstm)
      echo "--arch lstm --encoder-layers 2 --decoder-layers 2 --encoder-bidirectional" \
        "--encoder-embed-dim 256 --encoder-hidden-size 256" \
        "--decoder-embed-dim 256 --decoder-hidden-size 256 --decoder-out-embed-dim 256" \
        "--dropout 0.3 --share-all-embeddings --clip-norm 1.0" \
        "$FAST $BFLOAT16 $schedule --lr 0.002"
      ;;
  esac
}

architecture() { python "$ROOT/scripts/benchmarks/model_options.py" "$1"; }

# Sets raw, directory, model, seed, run_name, updates, tokenizer and options from a script's arguments.
parse_recipe() { # default of --dir, arguments...
  directory=$1 updates=8000 tokenizer=moses
  parse_arguments "$MODELS" --tokenizer "${@:2}"
}

# Trains, averages checkpoints, and translates each subset with beam 5, in $directory/$run_name. Batches
# have at most 4096 tokens.
run_recipe() { # source language, target language, subsets...
  local run=$directory/$run_name data=$directory/data-bin subset
  train_once "$run" "$data" "$(model_options "$model" "$updates")" \
    --source-lang "$1" --target-lang "$2" --adam-betas '(0.9, 0.98)' --label-smoothing 0.1 \
    --warmup-updates "$((updates < 8000 ? (updates + 3) / 4 : 2000))" --warmup-init-lr 1e-7 \
    --max-tokens 4096 --log-interval 100 --keep-last-epochs 10
  average_run "$run/checkpoints"
  for subset in "${@:3}"; do
    echo "$model, seed $seed: generate $subset (beam 5)"
    generate "$run" "$data" "$averaged" "$subset"
    tail -n 1 "$run/generate-$subset.txt"
  done
  python "$ROOT/scripts/validation_table.py" "$run/train.log" >"$run/validation.md"
}
