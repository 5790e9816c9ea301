"""Write a trained model as ONNX: DIR/encoder.onnx and DIR/decoder.onnx.

The model must be an lrn with the cell lrn or olrn. The encoder runs once per batch of sentences,
the decoder once per step. The module fairseq_lrn.generation.onnx_export describes their inputs and
outputs.
Needs: bash scripts/setup.sh onnx (or pip install onnx onnxscript)

Example:
    fairseq-lrn export checkpoints/averaged.pt data-bin/mine --destdir onnx
"""

import argparse
import logging
import os

from fairseq import checkpoint_utils

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.onnx_export import export

HELP = "write a model as ONNX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="checkpoint, or a directory of checkpoints"
    )
    parser.add_argument("data", metavar="DATA", help="directory with the model's dictionaries")
    parser.add_argument("--destdir", required=True, metavar="DIR", help="directory to write to")


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: the checkpoint or its dictionaries cannot be read, or see
            :func:`fairseq_lrn.generation.onnx_export.export`.
    """
    (path,) = checkpoints.chosen([args.checkpoint])
    checkpoints.load(path)  # raises an error that names the file, if it is damaged
    try:
        with checkpoints.readable(args.data) as data:
            (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
                [path], arg_overrides={"data": data}
            )
    except Exception as error:  # fairseq raises many types of errors; the checkpoint can be read
        raise InputError(
            f"cannot load {path} with the dictionaries in {args.data}: {error}; give "
            "the directory of the data that the model was trained on"
        ) from error
    for name, level in (("onnxscript", "WARNING"), ("onnx_ir", "WARNING"), ("torch.onnx", "ERROR")):
        logging.getLogger(name).setLevel(level)  # they log each step of their optimisation
    export(model, args.destdir)
    print("wrote", os.path.join(args.destdir, "encoder.onnx"))
    print("wrote", os.path.join(args.destdir, "decoder.onnx"))
