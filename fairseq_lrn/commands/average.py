"""Average the parameters of several checkpoints of a training run.

With the directory of a training run, the checkpoints at its end are averaged. The mean and
checkpoint_best.pt are compared on the validation set, and DIR/averaged.pt, which all commands
prefer, is written only if the mean is better. The output is the path of the better one.

With --inputs and --output, the given checkpoints are averaged, and nothing is compared; these
options are named as in fairseq's script.

Examples:
    model=$(fairseq-lrn average checkpoints)
    fairseq-lrn average --inputs a.pt b.pt --output averaged.pt
    fairseq-lrn average --inputs checkpoints --num-epoch-checkpoints 5 --output averaged.pt
"""

import argparse
import logging
import os
import tempfile
from typing import Optional

from fairseq_lrn import averaging, checkpoints
from fairseq_lrn.checkpoints import AVERAGED
from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum, option_name

HELP = "average checkpoints"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", help="checkpoints of one training run"
    )
    parser.add_argument(
        "--last",
        type=int,
        metavar="N",
        help="with DIR: average at most the last N checkpoints (default: those of the last sixth "
        "of the updates, at most 10)",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="with DIR: the prepared data, if they were moved"
    )
    parser.add_argument(
        "--user-dir", metavar="DIR", help="with DIR: a user directory of the training run"
    )
    parser.add_argument("--inputs", nargs="+", help="checkpoints, or one directory")
    parser.add_argument("--output", metavar="FILE", help="checkpoint to write, with --inputs")
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--num-epoch-checkpoints", type=int, metavar="N", help="last N epochs")
    number.add_argument("--num-update-checkpoints", type=int, metavar="N", help="last N updates")
    number.add_argument("--num-best-checkpoints", type=int, metavar="N", help="best N")
    parser.add_argument(
        "--checkpoint-upper-bound", type=int, metavar="N", help="ignore later epochs or updates"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    _check(args)
    if args.directory is not None:
        if args.user_dir is not None:
            _import_user_directory(args)
        print(average_run(args.directory, args.last, args.data))
        return
    counts = {
        averaging.EPOCH: args.num_epoch_checkpoints,
        averaging.UPDATE: args.num_update_checkpoints,
        averaging.BEST: args.num_best_checkpoints,
    }
    inputs = args.inputs
    if args.checkpoint_upper_bound is not None and set(counts.values()) == {None}:
        raise InputError(
            "--checkpoint-upper-bound has no effect on named files: leave it out, or give "
            "--num-epoch-checkpoints or --num-update-checkpoints"
        )
    for pattern, count in counts.items():
        if count is None:
            continue
        if count < 1 or len(inputs) != 1:
            raise InputError(
                "--num-epoch-checkpoints, --num-update-checkpoints and --num-best-checkpoints need "
                "N of at least 1, and one directory as --inputs"
            )
        bound = args.checkpoint_upper_bound
        if bound is not None and pattern is averaging.BEST:
            raise InputError("--checkpoint-upper-bound has no effect on the best checkpoints")
        inputs = averaging.find(inputs[0], pattern, count, bound)
    for path in inputs:
        if os.path.isdir(path):
            raise InputError(
                f"{path} is a directory: give --num-epoch-checkpoints N or another number of its "
                "checkpoints, or the directory alone, without --inputs"
            )
        print("averaging", path)
    checkpoints.save(averaging.average(inputs), args.output)
    print("wrote", args.output)


def _import_user_directory(args: argparse.Namespace) -> None:
    """Let fairseq import the user directory.

    Raises:
        InputError: it cannot be imported.
    """
    from fairseq.utils import import_user_module

    try:
        import_user_module(args)
    except Exception as error:  # of any type: the directory has code
        raise InputError(
            f"--user-dir {args.user_dir} cannot be imported ({type(error).__name__}: {error}): "
            "give the user directory of the training run"
        ) from error


def _check(args: argparse.Namespace) -> None:
    """Refuse options of the other form of the command."""
    options = vars(args)
    of_run = ["last", "data", "user_dir"]
    of_files = ["inputs", "output", "num_epoch_checkpoints", "num_update_checkpoints"]
    of_files += ["num_best_checkpoints", "checkpoint_upper_bound"]
    is_run = args.directory is not None
    wrong = [name for name in (of_files if is_run else of_run) if options[name] is not None]
    if wrong:
        place = "with a directory" if is_run else "without a directory"
        raise InputError(f"{option_name(wrong[0])} does not apply {place}: leave it out")
    if not is_run and (args.inputs is None or args.output is None):
        raise InputError("give the directory of a training run, or --inputs and --output")
    check_minimum(1, last=args.last)


def average_run(directory: str, count: Optional[int], data: Optional[str]) -> str:
    """Average the end of a training run, and keep the mean only if it is better.

    Args:
        directory: directory of checkpoints.
        count: largest number of checkpoints; None: by the length of the run.
        data: directory of the binarised data; None: that of the training run.

    Returns:
        path of the checkpoint to use.

    Raises:
        InputError: the checkpoints or the data cannot be used, or the directory cannot be written.
    """
    from fairseq_lrn.analysis.validation import validate

    inputs = averaging.last_of_run(directory, count)
    if not os.access(directory, os.W_OK):
        raise InputError(f"cannot write to {directory}, which gets {AVERAGED}: copy it")
    mean_path = os.path.join(directory, AVERAGED)
    names = ("checkpoint_best.pt", "checkpoint_last.pt")
    paths = (os.path.join(directory, name) for name in names)
    other = next((path for path in paths if os.path.isfile(path)), inputs[-1])
    if len(inputs) == 1:
        logger.info("there is no mean of one checkpoint, %s", inputs[0])
        _set_aside(directory)
        return other
    for path in inputs:
        logger.info("averaging %s", path)
    state = averaging.average(inputs)
    with tempfile.TemporaryDirectory() as temporary:
        candidate = os.path.join(temporary, AVERAGED)
        checkpoints.save(state, candidate)
        # The checkpoint first: a message about it names a file that the user has.
        best, mean = validate(other, data), validate(candidate, data)
    comparison = checkpoints.Comparison(
        [os.path.basename(path) for path in inputs],
        mean.metric,
        mean.value,
        os.path.basename(other),
        best.value,
        mean.maximize,
    )
    logger.info("the mean is %s", comparison.text)
    if comparison.is_better:
        checkpoints.save(state, mean_path)
        checkpoints.write_comparison(comparison, directory)
        return mean_path
    _set_aside(directory)
    return other


def _set_aside(directory: str) -> None:
    """Give an earlier mean another name: commands would prefer it."""
    mean = os.path.join(directory, AVERAGED)
    if os.path.exists(mean):
        unused = os.path.join(directory, "averaged.unused.pt")
        os.replace(mean, unused)
        logger.info("an earlier %s is now %s", AVERAGED, unused)
