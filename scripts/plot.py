#!/usr/bin/env python3
"""Draw how a model learned, and what is inside it; the picture's kind is that of FILE's ending.

curves: a statistic of validation, from the logs of fairseq-train (--log-format simple).
attention: between the words of a sentence and of its translation.
memory: how much of each piece of a sentence the states of an encoder layer hold: the paper's
unfolded form h_t = sum_k i_k (prod_{k<j<=t} f_j) v_k, its weights as means over the units.

Examples:
    python scripts/plot.py curves multi30k/lrn-1 multi30k/transformer-1 --output curves.png
    python scripts/plot.py attention checkpoints/mine "Two dogs play." --output attention.png
    python scripts/plot.py memory checkpoints/mine "Two dogs play." --layer 2 --output memory.png
"""

import argparse

from fairseq_lrn import load_translator, pictures
from fairseq_lrn.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", required=True, metavar="FILE", help="png, svg or pdf")
    curves = kinds.add_parser("curves", parents=[common])
    curves.add_argument("logs", nargs="+", metavar="LOG", help="or a directory with train.log")
    curves.add_argument("--metric", default="nll_loss", help="default: %(default)s")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("model", help="directory of checkpoints, or a checkpoint")
    model.add_argument("sentence", help="raw text of the source language")
    model.add_argument("--data", metavar="DIR", help="made by prepare_text.py, if it was moved")
    kinds.add_parser("attention", parents=[common, model])
    memory = kinds.add_parser("memory", parents=[common, model])
    memory.add_argument("--layer", type=int, default=1, metavar="N", help="of the encoder; from 1")
    memory.add_argument("--backward", action="store_true", help="from the end to the beginning")
    args = parser.parse_args()

    if args.kind == "curves":
        pictures.draw_curves(args.logs, args.output, args.metric)
        return
    translator = load_translator(args.model, data=args.data)
    if args.kind == "attention":
        translation = translator.hypotheses([args.sentence], attention=True)[0][0]
        print(translation.text)
        pictures.draw_attention(translation, args.output)
    else:
        seen = pictures.memory(translator, args.sentence, args.layer, args.backward)
        pictures.draw_memory(seen, args.output)


if __name__ == "__main__":
    run(main)
