# Sourced by multi30k.sh, ablations.sh and tatoeba.sh: the models that they train, on the same data
# for as many updates, a quarter of them, at most 2000, to warm up. Loss and optimiser are those that
# take less time; all but the tiny transformer, which bfloat16 makes slower, are trained in bfloat16
# (on a CPU).

MODELS="lrn transformer_lrn transformer transformer_rdrop lstm lrn_512 transformer_512 lstm_512"

# The loss and the optimiser that take less time, and bfloat16 where the processor has it. On a GPU
# in float32: in bfloat16 transformer_lrn came almost to a halt on one.
FAST="--optimizer torch_adam --criterion fused_label_smoothed_cross_entropy"
BFLOAT16=
if grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null &&
  ! nvidia-smi --list-gpus >/dev/null 2>&1; then
  BFLOAT16="--autocast bfloat16"
fi

# R-Drop passes each batch twice, and matters once a model knows its training text: it is for the
# second half. In the last fifth the learning rate falls to 0. The tiny transformer is that of Wu et
# al. (2021), "Good for Misconceived Reasons"; transformer_rdrop is the same, trained as ours are.
model_options() { # model updates
  local schedule="--lr-scheduler inverse_sqrt"
  local fall="--lr-scheduler inverse_sqrt_cooldown --cooldown-updates $((($2 + 4) / 5))"
  local ours="--rdrop-alpha 3 --rdrop-from-update $(($2 / 2)) $fall"
  case $1 in
    lrn) echo "--arch lrn_multi30k $FAST $BFLOAT16 $ours --lr 0.005" ;;
    transformer_lrn)
      echo "--arch transformer_lrn_multi30k $FAST $BFLOAT16 $ours --lr 0.005"
      ;;
    transformer_rdrop)
      local plain
      plain=$(model_options transformer "$2")
      echo "${plain/$schedule/$ours}"
      ;;
    transformer)
      echo "$(architecture transformer_tiny) --dropout 0.3 $FAST $schedule --lr 0.005"
      ;;
    # Of equal sizes, to compare how fast they translate: all three in bfloat16, with the fall.
    lrn_512) echo "$(architecture "$1") --dropout 0.3 $FAST $BFLOAT16 $fall --lr 0.002" ;;
    transformer_512) echo "$(architecture "$1") --dropout 0.3 $FAST $BFLOAT16 $fall --lr 0.001" ;;
    lstm_512)
      echo "$(architecture "$1") --dropout 0.3 --clip-norm 1.0 $FAST $BFLOAT16 $fall --lr 0.002"
      ;;
    lstm)
      echo "--arch lstm --encoder-layers 2 --decoder-layers 2 --encoder-bidirectional" \
        "--encoder-embed-dim 256 --encoder-hidden-size 256" \
        "--decoder-embed-dim 256 --decoder-hidden-size 256 --decoder-out-embed-dim 256" \
        "--dropout 0.3 --share-all-embeddings --clip-norm 1.0" \
        "$FAST $BFLOAT16 $schedule --lr 0.002"
      ;;
    *) fail "--model must be one of $MODELS, not $1" ;;
  esac
}

architecture() { python "$ROOT/scripts/benchmarks/model_options.py" "$1"; }

# Sets raw, directory, model, seed, run_name, updates and options from a script's arguments.
parse_recipe() { # default directory, arguments...
  raw='' directory=$1 model=lrn seed=1 updates=8000 options=()
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --dir) directory=${2:?--dir needs a directory} && shift ;;
      --model) model=${2:?--model needs one of $MODELS} && shift ;;
      --updates) updates=${2:?--updates needs a number} && shift ;;
      --seed) seed=${2:?--seed needs a number} && shift ;;
      --) shift && options=("$@") && break ;;
      -*) fail "unknown option $1; options of fairseq-train go behind --" ;;
      *) raw=$1 ;;
    esac
    shift
  done
  [[ $updates =~ ^[1-9][0-9]*$ ]] || fail "--updates must be a number above 0, not $updates"
  model_options "$model" "$updates" >/dev/null
  run_name=$model-$seed
}

# 8000 updates (or as many as asked for) of 4096 tokens, the mean of the last 10 epochs, the one that
# is not complete included (of fewer after fewer updates, as early ones would make the mean worse),
# beam 5. Everything goes to the directory $run_name beside the data.
run_recipe() { # source target subsets...
  local run=$directory/$run_name data=$directory/data-bin subset model_words
  read -ra model_words <<<"$(model_options "$model" "$updates")"
  mkdir -p "$run"
  # Started again, fairseq would train for one more update. With other options it goes on.
  local trained_with="options: ${model_words[*]} --max-update $updates ${options[*]}"
  if [ "$(cat "$run/trained-with" 2>/dev/null)" = "$trained_with" ]; then
    echo "$model, seed $seed: trained already"
  else
    echo "$model, seed $seed: train"
    train "$run" "$data" --source-lang "$1" --target-lang "$2" "${model_words[@]}" \
      --adam-betas '(0.9, 0.98)' --label-smoothing 0.1 \
      --warmup-updates "$((updates < 8000 ? (updates + 3) / 4 : 2000))" --warmup-init-lr 1e-7 \
      --max-tokens 4096 --max-update "$updates" --seed "$seed" --log-interval 100 \
      --keep-last-epochs 10 "${options[@]}"
    echo "$trained_with" >"$run/trained-with"
  fi
  average_last "$run/checkpoints" "$((updates < 8000 ? (updates + 799) / 800 : 10))"
  for subset in "${@:3}"; do
    echo "$model, seed $seed: generate $subset (beam 5)"
    generate "$run" "$data" "$run/checkpoints/averaged.pt" "$subset"
    tail -n 1 "$run/generate-$subset.txt"
  done
  python "$ROOT/scripts/validation_table.py" "$run/train.log" >"$run/validation.md"
}
