#!/usr/bin/env bash
# Score the output of fairseq-generate against raw references: tokenised BLEU as fairseq
# computed it, then sacreBLEU and chrF of the detokenised translations, with signatures.
#
#   bash scripts/score.sh GENERATED REFERENCE [LANG] [OPTIONS OF SACREBLEU'S BLEU]
#
# LANG is the target language, by default the ending of REFERENCE. Give -lc for a model of
# lower-cased text (it counts for chrF as well). The detokenised translations are left in GENERATED.detok.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need_environment

[ $# -ge 2 ] || fail "usage: bash scripts/score.sh GENERATED REFERENCE [LANG] [-lc]"
generated=$1 reference=$2 lang=${2##*.}
shift 2
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  lang=$1
  shift
fi
[ -s "$generated" ] || fail "$generated is missing or empty: give the output of fairseq-generate"
[ -s "$reference" ] || fail "$reference is missing or empty: give the raw reference"

working=$(mktemp)
trap 'rm -f "$working"' EXIT
python "$ROOT/scripts/extract_translations.py" "$generated" --lang "$lang" >"$working"
hypotheses=$(grep -c "" "$working") references=$(grep -c "" "$reference")
[ "$hypotheses" -eq "$references" ] ||
  fail "$generated has $hypotheses translations, but $reference has $references lines:" \
    "give the reference of the set that was generated, and generate with" \
    "--required-batch-size-multiple 1 (otherwise fairseq leaves out the longest sentences)"
cat "$working" >"$generated.detok"

grep '^Generate ' "$generated" || true
sacrebleu "$reference" -i "$generated.detok" -m bleu -w 2 --format text "$@"
case " $* " in
  *" -lc "*) set -- --chrf-lowercase ;;
  *) set -- ;;
esac
sacrebleu "$reference" -i "$generated.detok" -m chrf -w 2 --format text "$@"
