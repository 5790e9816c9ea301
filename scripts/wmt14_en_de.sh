#!/usr/bin/env bash
# Train and score the paper's model on WMT14 English-German: joint BPE, one vocabulary per language,
# train, average checkpoints, translate, BLEU.
#
#   bash scripts/wmt14_en_de.sh [RAW_DIR] [--cell CELL] [--gpus N] [--limit N] [--tokenize]
#                               [--dir DIR] [-- fairseq-train options]
#
# RAW_DIR     tokenised text: {train,newstest2012,newstest2013,newstest2014}.{en,de}; without it, the
#             files are downloaded from Stanford's NMT page. newstest2012 and newstest2013 are the
#             validation set, newstest2014 is the test set.
# --cell CELL lrn (default), olrn, atr, sru, gru or lstm
# --gpus N    1 (default), 2, 4 or 8. Gradients are accumulated so that a batch has the size of one
#             on 8 GPUs.
# --limit N   use only the first N sentence pairs of each file, to try the whole pipeline
# --tokenize  tokenise the files of RAW_DIR first
# --dir DIR   where everything is written (default: wmt14_en_de/ in the checkout)
#
# A second run reuses existing files and resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment

url=https://nlp.stanford.edu/projects/nmt/data/wmt14.en-de
raw='' directory=$ROOT/wmt14_en_de cell=lrn gpus=1 limit=0 tokenize=(--no-tokenize) options=()
while [ $# -gt 0 ]; do
  case $1 in
    --dir) need_value "$@" && directory=$2 && shift ;;
    --cell) need_value "$@" && cell=$2 && shift ;;
    --gpus) need_value "$@" && gpus=$2 && shift ;;
    --limit) need_value "$@" && limit=$2 && shift ;;
    --tokenize) tokenize=(--tokenizer moses) ;;
    --) shift && options=("$@") && break ;;
    -*) fail "unknown option $1; put fairseq-train options after --" ;;
    *) take_raw "$1" ;;
  esac
  shift
done
cells="lrn olrn atr sru gru lstm"
[[ " $cells " == *" $cell "* ]] || fail "--cell must be one of $cells, not $cell"
refuse_fixed_options
case $gpus in 1 | 2 | 4 | 8) ;; *) fail "--gpus must be 1, 2, 4 or 8, not $gpus" ;; esac
case $limit in *[!0-9]*) fail "--limit must be a number, not $limit" ;; esac
visible=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$visible" -lt "$gpus" ]; then
  [ "$gpus" = 1 ] || fail "--gpus $gpus needs $gpus GPUs, but torch finds $visible"
  echo "wmt14: torch finds no GPU: training will be slow"
fi

sets="train newstest2012 newstest2013 newstest2014"
make_directory
lock "$directory" # several cells may be trained on the same data at the same time
if [ -z "$raw" ]; then
  raw=$directory/raw
  mkdir -p "$raw"
  for name in $sets; do
    for lang in en de; do
      [ -s "$raw/$name.$lang" ] && continue
      echo "wmt14: downloading $name.$lang"
      download "$url/$name.$lang" "$raw/$name.$lang.incomplete" "give a directory that has the file"
      mv "$raw/$name.$lang.incomplete" "$raw/$name.$lang"
    done
  done
fi
# shellcheck disable=SC2046  # the names are words
check_raw "give RAW_DIR" $(for name in $sets; do echo "$name.en $name.de"; done)

# The limit is part of the directory names, because another --limit is another corpus.
input=$directory/input-$limit data=$directory/data-bin-$limit
run=$directory/$cell-$limit
checkpoints=$run/checkpoints
# The files are large, so their location, not their content, identifies them.
origin="$raw ${tokenize[*]}"
first() { if [ "$limit" -gt 0 ]; then head -n "$limit" "$1"; else cat "$1"; fi; }
if [ ! -d "$input" ]; then
  rm -rf "$input.incomplete"
  mkdir -p "$input.incomplete"
  for lang in en de; do
    first "$raw/train.$lang" >"$input.incomplete/train.$lang"
    { first "$raw/newstest2012.$lang" && first "$raw/newstest2013.$lang"; } \
      >"$input.incomplete/dev.$lang"
    first "$raw/newstest2014.$lang" >"$input.incomplete/test.$lang"
  done
  echo "$origin" >"$input.incomplete/origin"
  mv "$input.incomplete" "$input"
fi
[ "$(cat "$input/origin")" = "$origin" ] ||
  fail "$input was made from other files, or with another --tokenize: choose another --dir"
echo "wmt14: prepare (joint BPE with 32,000 merges, vocabulary threshold 50)"
reuse_or_prepare "$data" "$input/train" --source-lang en --target-lang de \
  "${tokenize[@]}" \
  --trainpref "$input/train" --validpref "$input/dev" --testpref "$input/test" \
  --bpe-merges 32000 --vocab-threshold 50 --max-length 80
check_data "$data" en de
exec 9>&-

train_once "wmt14: ${cell}_rnmt_wmt_en_de, $gpus GPUs" "$run" "$data" "" \
  --source-lang en --target-lang de --arch "${cell}_rnmt_wmt_en_de" \
  --optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-9 --clip-norm 5.0 \
  --lr 0.0005 --lr-scheduler gnmt_plus \
  --criterion sentence_label_smoothed_cross_entropy --label-smoothing 0.1 \
  --max-tokens 3000 --update-freq $((8 / gpus)) --distributed-world-size "$gpus" \
  --max-epoch 10 --seed 1234 --save-interval-updates 1250 --keep-interval-updates 5 \
  --keep-last-epochs 5 "${options[@]}"

average_run "$checkpoints" --last 5
echo "wmt14: generate newstest2014 (beam 4, the paper's length penalty)"
generate "$run" "$data" "$averaged" test \
  --length-penalty gnmt --beam 4 --lenpen 0.6 --max-len-a 1 --max-len-b 50

python "$ROOT/scripts/extract_translations.py" "$run/generate-test.txt" \
  >"$run/translations.tok.de"
echo "wmt14: tokenised, case-insensitive BLEU"
sacrebleu "$data/text/test.tok.de" -i "$run/translations.tok.de" -m bleu -w 2 --format text \
  -lc --tokenize none --force | tee "$run/bleu.txt"
