"""Average the parameters of several checkpoints. The options are named as in fairseq's script.

Examples:
    fairseq-lrn average --inputs checkpoints --num-epoch-checkpoints 5 \\
        --output checkpoints/averaged.pt
    fairseq-lrn average --inputs a.pt b.pt --output averaged.pt
"""

import argparse

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError

HELP = "average checkpoints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--inputs", nargs="+", required=True, help="checkpoints, or one directory")
    parser.add_argument("--output", required=True, metavar="FILE", help="checkpoint to write")
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--num-epoch-checkpoints", type=int, metavar="N", help="last N epochs")
    number.add_argument("--num-update-checkpoints", type=int, metavar="N", help="last N updates")
    number.add_argument("--num-best-checkpoints", type=int, metavar="N", help="best N")
    parser.add_argument(
        "--checkpoint-upper-bound", type=int, metavar="N", help="ignore later epochs or updates"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    counts = {
        checkpoints.EPOCH: args.num_epoch_checkpoints,
        checkpoints.UPDATE: args.num_update_checkpoints,
        checkpoints.BEST: args.num_best_checkpoints,
    }
    inputs = args.inputs
    for pattern, count in counts.items():
        if count is None:
            continue
        if count < 1 or len(inputs) != 1:
            raise InputError(
                "--num-epoch-checkpoints, --num-update-checkpoints and --num-best-checkpoints need "
                "N of at least 1, and one directory as --inputs"
            )
        bound = args.checkpoint_upper_bound
        if bound is not None and pattern is checkpoints.BEST:
            raise InputError("--checkpoint-upper-bound has no effect on the best checkpoints")
        inputs = checkpoints.find(inputs[0], pattern, count, bound)
    for path in inputs:
        print("averaging", path)
    checkpoints.save(checkpoints.average(inputs), args.output)
    print("wrote", args.output)
