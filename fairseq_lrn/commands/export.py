"""Write a trained model (architecture lrn) as ONNX: DIR/encoder.onnx and DIR/decoder.onnx.

The encoder runs once per batch of sentences, the decoder once per step. The module
fairseq_lrn.generation.onnx_export describes their inputs and outputs.
Needs: pip install onnx onnxscript

Example:
    fairseq-lrn export checkpoints/averaged.pt data-bin/mine --destdir onnx
"""

import argparse

from fairseq_lrn import checkpoints
from fairseq_lrn.generation.onnx_export import export

HELP = "write a model as ONNX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("data", metavar="DATA", help="the training data: for the dictionaries")
    parser.add_argument("--destdir", required=True, metavar="DIR")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    from fairseq import checkpoint_utils

    checkpoints.load(args.checkpoint)  # raises an error that names the file, if it is damaged
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [args.checkpoint], arg_overrides={"data": args.data}
    )
    export(model, args.destdir)
    print(f"{args.destdir}: encoder.onnx, decoder.onnx")
