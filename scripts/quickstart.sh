#!/usr/bin/env bash
# See an LRN model learn to translate: set up, generate a small English-German corpus, prepare it,
# train, translate held-out sentences, score. Takes a few minutes on two cores.
#
#   bash scripts/quickstart.sh [--force] [--updates N] [--dir DIR] [-- fairseq-train options]
#
# --force     delete existing files and start again
# --updates N length of the training run (default: 440); the learning rate falls to 0 in its last 40%
#             (cooldown)
# --dir DIR   where everything is written (default: quickstart/ in the checkout)
#
# A second run reuses existing files and resumes an interrupted training run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
directory=$ROOT/quickstart updates=440 force=
parse_arguments "" --updates --force "$@"
[ -z "$raw" ] || fail "unknown argument $raw: the quick start makes its own text"
bash "$ROOT/scripts/setup.sh"
source "$ROOT/scripts/env.sh" # again: it activates the environment that there is now
need_environment

make_directory
raw=$directory/raw data=$directory/data-bin checkpoints=$directory/checkpoints
if [ -n "$force" ]; then
  echo "quickstart: --force: starting again in $directory"
  rm -rf "$raw" "$data" "$checkpoints"
fi

echo "quickstart: 1/5 corpus from a small grammar"
if [ -d "$raw" ]; then
  echo "  reusing $raw"
else
  rm -rf "$raw.incomplete"
  python "$ROOT/scripts/make_toy_corpus.py" --destdir "$raw.incomplete"
  mv "$raw.incomplete" "$raw"
  wc -l "$raw"/*.en
fi

echo "quickstart: 2/5 learn BPE, fairseq-preprocess"
if [ -d "$data" ]; then
  echo "  reusing $data"
else
  fairseq-lrn prepare --source-lang en --target-lang de \
    --trainpref "$raw/train" --validpref "$raw/valid" --testpref "$raw/test" \
    --vocab-size 800 --destdir "$data"
fi
check_data "$data" en de

started=$SECONDS
train_once "quickstart: 3/5 architecture lrn_tiny, $updates updates" "$directory" "$data" "" \
  --source-lang en --target-lang de --task translation_lrn --eval-bleu \
  --arch lrn_tiny --share-all-embeddings --dropout 0.1 \
  --optimizer torch_adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
  --lr 0.005 --warmup-updates 100 --max-update "$updates" \
  --lr-scheduler inverse_sqrt_cooldown --cooldown-updates "$(((updates * 2 + 4) / 5))" \
  --warmup-init-lr 1e-7 \
  --criterion fused_label_smoothed_cross_entropy --label-smoothing 0.1 \
  --max-tokens 4096 --seed 1 --log-interval 50 \
  --no-epoch-checkpoints "${options[@]}"
echo "  training took $((SECONDS - started)) seconds"

echo "quickstart: 4/5 translate held-out sentences with fairseq-generate"
generate "$directory" "$data" "$checkpoints/checkpoint_best.pt" test

echo "quickstart: 5/5 score"
fairseq-lrn score "$directory/generate-test.txt" "$raw/test.de"
echo
python "$ROOT/scripts/extract_translations.py" "$directory/generate-test.txt" \
  --data "$data" --triples 10
echo
echo "Translate a sentence of your own, with words like those above:"
[ "$VIRTUAL_ENV" != "$ROOT/.venv" ] || echo "  source .venv/bin/activate"
echo "  fairseq-lrn translate $directory/checkpoints"
echo "or on a local page, after bash scripts/setup.sh demo:"
echo "  fairseq-lrn serve $directory/checkpoints"
