"""Plot training curves, attention, or the memory of the recurrence. Needs matplotlib.

curves: a statistic of training and validation, and the BLEU of validations if there is any, from
logs of fairseq-train (--log-format simple).
attention: attention between the words of a sentence and the words of its translation.
memory: how much of each subword the states of an encoder layer hold, by the paper's unfolded form
h_t = sum_k i_k (prod_{k<j<=t} f_j) v_k. The weights are means over the hidden units.

The suffix of FILE chooses the format: png, svg or pdf.

Examples:
    fairseq-lrn plot curves multi30k/lrn-1 multi30k/transformer-1 --output curves.png
    fairseq-lrn plot attention checkpoints/mine "Two dogs play." --output attention.png
    fairseq-lrn plot memory checkpoints/mine "Two dogs play." --layer 2 --output memory.png
"""

import argparse

from fairseq_lrn.analysis import memory, plots
from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model

HELP = "plot training curves, attention or memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    kinds = parser.add_subparsers(dest="kind", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", required=True, metavar="FILE", help=".png, .svg or .pdf")
    curves = kinds.add_parser("curves", parents=[common], help="training curves")
    curves.add_argument(
        "logs", nargs="+", metavar="LOG", help="log of fairseq-train, or directory with train.log"
    )
    curves.add_argument(
        "--metric", default="nll_loss", help="statistic to plot (default: %(default)s)"
    )
    model = argparse.ArgumentParser(add_help=False)
    add_model_arguments(model)
    model.add_argument("sentence", help="raw text in the source language")
    kinds.add_parser("attention", parents=[common, model], help="attention between words")
    layer = kinds.add_parser("memory", parents=[common, model], help="memory of an encoder layer")
    layer.add_argument(
        "--layer", type=int, default=1, metavar="N", help="encoder layer, from 1 (default: 1)"
    )
    layer.add_argument(
        "--backward", action="store_true", help="plot the backward recurrence of the layer"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: the file has another suffix, the model or a log cannot be used, or the sentence
            is empty or too long.
    """
    plots.check_format(args.output)  # before the model is loaded
    if args.kind == "curves":
        plots.draw_curves(args.logs, args.output, args.metric)
        return
    translator = load_model(args)
    if args.kind == "attention":
        translation = translator.hypotheses([args.sentence], attention=True)[0][0]
        plots.draw_attention(translation, args.output)
        print(translation.text)
    else:
        result = memory.memory(translator, args.sentence, args.layer, args.backward)
        plots.draw_memory(result, args.output)
