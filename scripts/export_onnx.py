#!/usr/bin/env python3
"""Write a trained model (lrn) as ONNX: DIR/encoder.onnx, once for a batch of sentences, and
DIR/decoder.onnx, one step of the decoder. fairseq_lrn/onnx_export.py says what goes in and out.

Needs: pip install onnx onnxscript

Example:
    python scripts/export_onnx.py checkpoints/averaged.pt data-bin/mine --destdir onnx
"""

import argparse

from fairseq import checkpoint_utils

import fairseq_lrn  # noqa: F401  (registers the models)
from fairseq_lrn import checkpoints
from fairseq_lrn.errors import run
from fairseq_lrn.generation.onnx_export import export


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE")
    parser.add_argument("data", help="what it was trained on: for the dictionaries")
    parser.add_argument("--destdir", required=True, metavar="DIR")
    args = parser.parse_args()
    checkpoints.load(args.checkpoint)  # says what is wrong with it
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [args.checkpoint], arg_overrides={"data": args.data}
    )
    export(model, args.destdir)
    print(f"{args.destdir}: encoder.onnx, decoder.onnx")


if __name__ == "__main__":
    run(main)
