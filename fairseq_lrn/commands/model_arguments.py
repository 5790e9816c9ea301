"""The arguments of commands that load a trained model."""

import argparse

from fairseq_lrn.generation.translator import Translator, load_translator
from fairseq_lrn.modules.precision import MATMUL_DTYPES

MODEL_HELP = "directory of checkpoints, or a checkpoint; an ensemble: FILE:FILE"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the options of loading it."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_loading_arguments(parser)


def add_data_and_device(parser: argparse.ArgumentParser) -> None:
    """Add the options of loading that models of every task have."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="prepared data, if they were moved and the checkpoints lack their text files",
    )
    parser.add_argument("--device", help="e.g. cuda (default: a GPU if there is one)")


def add_loading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of loading a translation model."""
    add_data_and_device(parser)
    parser.add_argument(
        "--generation-dtype",
        choices=MATMUL_DTYPES,
        help="type of matrix products on a CPU (default: that in the checkpoint, or float32)",
    )


def load_model(args: argparse.Namespace) -> Translator:
    """Load the model that the arguments name."""
    return load_translator(
        args.model, data=args.data, device=args.device, dtype=args.generation_dtype
    )
