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

url=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw
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
mkdir -p "$directory"

if [ -z "$raw" ]; then
  raw=$directory/raw
  mkdir -p "$raw"
  for split in train val test_2016_flickr; do
    for lang in en de; do
      file=$raw/$split.$lang
      [ -s "$file" ] && continue
      echo "multi30k: downloading $split.$lang"
      python -c 'import sys, urllib.request as u; u.urlretrieve(*sys.argv[1:])' \
        "$url/$split.$lang.gz" "$file.gz" ||
        fail "cannot download $url/$split.$lang.gz: give a directory that has the raw files"
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
if [ -d "$data" ]; then
  grep -qF "\"$raw/train\"" "$data/prepare.json" ||
    fail "$data was not prepared from $raw: choose another --dir, or remove it"
  echo "multi30k: reusing $data"
else
  echo "multi30k: prepare"
  python "$ROOT/scripts/prepare_text.py" --source-lang en --target-lang de --lowercase \
    --trainpref "$raw/train" --validpref "$raw/val" --testpref "$raw/test_2016_flickr" \
    --vocab-size 6000 --destdir "$data"
fi
check_data "$data" en de

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

epochs=$(find "$checkpoints" -name 'checkpoint[0-9]*.pt' ! -name '*_*' | wc -l)
[ "$epochs" -gt 0 ] || fail "no epoch was finished in $checkpoints: train for longer"
epochs=$((epochs < 10 ? epochs : 10))
echo "multi30k: average the last $epochs epochs"
python "$ROOT/scripts/average_checkpoints.py" --inputs "$checkpoints" \
  --num-epoch-checkpoints "$epochs" --output "$checkpoints/averaged.pt"

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
