#!/usr/bin/env bash
# Train and score the paper's model on WMT14 English-German: joint BPE, one vocabulary per language,
# train, average checkpoints, translate, BLEU.
#
#   bash scripts/wmt14_en_de.sh [RAW_DIR] [--model MODEL] [--seed N] [--updates N] [--dir DIR]
#                               [--gpus N] [--limit N] [--tokenize] [-- fairseq-train options]
#
# RAW_DIR       tokenised text: {train,newstest2012,newstest2013,newstest2014}.{en,de}; without it, the
#               files are downloaded from Stanford's NMT page. newstest2012 and newstest2013 are the
#               validation set, newstest2014 is the test set.
# --model MODEL the cell: lrn (default), olrn, lstm, gru, sru or atr
# --seed N      random seed (default: 1)
# --updates N   end the training run after N updates (default: after 10 epochs, as in the paper). The
#               learning rate follows the paper's schedule anyway.
# --dir DIR     where everything is written (default: wmt14_en_de/ in the checkout); each model and seed
#               has its own directory, DIR/MODEL-SEED
# --gpus N      1 (default), 2, 4 or 8. Gradients are accumulated so that a batch has the size of one
#               on 8 GPUs.
# --limit N     use only the first N sentence pairs of each file, to try the whole pipeline; such a run
#               goes to DIR/limit-N
# --tokenize    tokenise the files of RAW_DIR first
#
# The last line is "test bleu X": tokenised, case-insensitive BLEU. A second run reuses existing files and
# resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment

url=https://nlp.stanford.edu/projects/nmt/data/wmt14.en-de
directory=$ROOT/wmt14_en_de seed=1 updates='' gpus=1 limit=0 tokenize=
parse_arguments "$CELLS" "--seed --updates --gpus --limit" --tokenize "$@"
case $gpus in 1 | 2 | 4 | 8) ;; *) fail "--gpus must be 1, 2, 4 or 8, not $gpus" ;; esac
visible=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$visible" -lt "$gpus" ]; then
  [ "$gpus" = 1 ] || fail "--gpus $gpus needs $gpus GPUs, but torch finds $visible"
  echo "wmt14: torch finds no GPU: training will be slow"
fi

names=()
for name in train newstest2012 newstest2013 newstest2014; do
  names+=("$name.en" "$name.de")
done
make_directory
lock "$directory" # several models may be trained on the same data at the same time
[ -n "$raw" ] || download_raw "$url" "" "${names[@]}"
check_raw "give RAW_DIR" "${names[@]}"

# Another limit is another corpus.
[ "$limit" = 0 ] || directory+=/limit-$limit
mkdir -p "$directory"
data=$directory/data-bin run=$directory/$run_name
checkpoints=$run/checkpoints
first() { if [ "$limit" -gt 0 ]; then head -n "$limit" "$1"; else cat "$1"; fi; }

# Joins the validation sets and limits all of them, and prepares what results.
prepare_wmt14() { # options...
  local input=$directory/input lang
  mkdir -p "$input"
  for lang in en de; do
    first "$raw/train.$lang" >"$input/train.$lang"
    { first "$raw/newstest2012.$lang" && first "$raw/newstest2013.$lang"; } >"$input/dev.$lang"
    first "$raw/newstest2014.$lang" >"$input/test.$lang"
  done
  fairseq-lrn prepare --source-lang en --target-lang de --trainpref "$input/train" \
    --validpref "$input/dev" --testpref "$input/test" "$@"
}
tokenizer=(--no-tokenize)
[ -z "$tokenize" ] || tokenizer=(--tokenizer moses)
echo "wmt14: prepare (joint BPE with 32,000 merges, vocabulary threshold 50)"
prepare_once "$data" "${names[@]/#/$raw/}" -- prepare_wmt14 "${tokenizer[@]}" --bpe-merges 32000 \
  --vocab-threshold 50 --max-length 80
check_data "$data" en de
exec 9>&-

length=(--max-epoch 10)
[ -z "$updates" ] || length=(--max-update "$updates")
train_once "wmt14: ${model}_rnmt_wmt_en_de, seed $seed, $gpus GPUs" "$run" "$data" "" \
  --source-lang en --target-lang de --arch "${model}_rnmt_wmt_en_de" \
  --optimizer adam --adam-betas '(0.9, 0.999)' --adam-eps 1e-9 --clip-norm 5.0 \
  --lr 0.0005 --lr-scheduler gnmt_plus \
  --criterion sentence_label_smoothed_cross_entropy --label-smoothing 0.1 \
  --max-tokens 3000 --update-freq $((8 / gpus)) --distributed-world-size "$gpus" \
  "${length[@]}" --seed "$seed" --save-interval-updates 1250 --keep-interval-updates 5 \
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
echo "test bleu $(sed -nE 's/^BLEU.* = ([0-9.]+) .*/\1/p' "$run/bleu.txt")"
