#!/usr/bin/env bash
# Multi30k English-German from raw text to BLEU: prepare, train, average, generate, score.
# Under two hours on two CPU cores.
#
#   bash scripts/multi30k.sh [RAW_DIR] [--dir DIR] [--lenpens] [-- OPTIONS OF fairseq-train]
#
# RAW_DIR has {train,val,test_2016_flickr}.{en,de}; without it the files are downloaded.
# Everything goes to DIR (default: multi30k/ in the checkout). Running it again reuses what is
# there and continues training that was interrupted. --lenpens also prints BLEU on val for the
# length penalties to choose from, and on the test set for fairseq's default of 1.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment

raw='' directory=$ROOT/multi30k lenpens=0
while [ $# -gt 0 ]; do
  case $1 in
    --dir) directory=${2:?--dir needs a directory} && shift ;;
    --lenpens) lenpens=1 ;;
    --) shift && break ;;
    -*) fail "unknown option $1; options of fairseq-train go behind --" ;;
    *) raw=$1 ;;
  esac
  shift
done
data=$directory/data-bin checkpoints=$directory/checkpoints
echo "multi30k: prepare"
prepare_multi30k "$directory" "$raw"

echo "multi30k: train"
train "$directory" "$data" --source-lang en --target-lang de --arch lrn \
  --encoder-embed-dim 256 --encoder-hidden-size 256 --encoder-layers 2 \
  --decoder-embed-dim 256 --decoder-hidden-size 256 --decoder-layers 2 \
  --decoder-attention-heads 4 --share-all-embeddings \
  --activation-fn identity --layernorm-projection --dropout 0.35 \
  --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
  --lr 0.003 --lr-scheduler inverse_sqrt --warmup-updates 1000 \
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
  --max-tokens 4096 --max-epoch 30 --seed 1 --log-interval 50 \
  --keep-last-epochs 10 "$@"

average_last "$checkpoints" 10

echo "multi30k: generate test_2016_flickr (beam 5)"
# The model is too brief with fairseq's default length penalty; this one was chosen on val.
generate "$directory" "$data" "$checkpoints/averaged.pt" --lenpen 3

bash "$ROOT/scripts/score.sh" "$directory/generate-test.txt" "$raw/test_2016_flickr.de" -lc
python "$ROOT/scripts/validation_table.py" "$directory/train.log" >"$directory/validation.md"
echo "multi30k: validation losses are in $directory/validation.md"

if [ "$lenpens" = 1 ]; then
  for choice in "valid 1" "valid 1.5" "valid 2" "valid 2.5" "valid 3" "test 1"; do
    read -r subset lenpen <<<"$choice"
    rm -rf "$directory/lenpens"
    mkdir "$directory/lenpens"
    generate "$directory/lenpens" "$data" "$checkpoints/averaged.pt" \
      --gen-subset "$subset" --lenpen "$lenpen"
    echo "lenpen $lenpen: $(tail -n 1 "$directory/lenpens/generate-test.txt")"
  done
fi
