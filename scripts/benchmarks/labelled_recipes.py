"""The ``fairseq-train`` options of models of labelled text that differ in their cell only.

This file also runs as a script and prints the options: ``python
scripts/benchmarks/labelled_recipes.py imdb``. ``scripts/labelled_text.sh`` uses this output.
"""

import sys
from typing import Dict

CLASSIFICATION = "--task text_classification --criterion sentence_prediction"
RECIPES: Dict[str, str] = {
    "imdb": f"{CLASSIFICATION} --arch lrn_classifier --hidden-size 128 --word-dropout 0.2 "
    "--input-dropout 0.4 --head-dropout 0.5 --pooling-dropout 0.3 --max-words 400 "
    "--max-tokens 12000 --required-batch-size-multiple 1 --lr 0.002 --lr-scheduler cosine "
    "--warmup-updates 100 --clip-norm 1",
    "snli": f"{CLASSIFICATION} --arch lrn_pair_classifier --freeze-word-vectors --match-feature "
    "--align-words --align-product --input-window 3 --layers 2 --hidden-size 150 "
    "--input-dropout 0.3 --dropout 0.3 --head-dropout 0.4 --pooling-hidden-size 100 "
    "--pooling-dropout 0.2 --batch-size 64 --lr 0.002 --lr-scheduler cosine "
    "--warmup-updates 150 --clip-norm 1",
    "conll2003": "--task sequence_tagging --criterion sequence_tagging --sentence-avg "
    "--arch lrn_tagger --input-window 3 --hidden-size 200 --input-dropout 0.5 --dropout 0.5 "
    "--word-dropout 0.05 --character-embed-dim 30 --character-hidden-size 50 "
    "--batch-size 32 --lr 0.003 --lr-scheduler cosine --warmup-updates 200 --clip-norm 5",
    "squad": "--task span_prediction --criterion span_prediction --arch lrn_reader "
    "--freeze-word-vectors --tuned-word-vectors 1000 --match-feature --align-words "
    "--input-window 3 --hidden-size 96 --residual-layers --update-epoch-batch-itr True "
    "--required-seq-len-multiple 8 "
    "--attention-size 64 --character-embed-dim 16 --character-hidden-size 32 --locked-dropout "
    "--input-dropout 0.15 --dropout 0.15 --max-context-words 400 --batch-size 32 --lr 0.002 "
    "--lr-scheduler cosine --warmup-updates 500 --clip-norm 5",
}

if __name__ == "__main__":
    print(RECIPES[sys.argv[1]])
