"""The models that are compared: their options, and their sizes."""

import subprocess
import sys

import pytest
from fairseq import options

import fairseq_lrn  # noqa: F401  (registers the models)
from benchmarks import model_options

# Width and number of layers, where the name does not say them.
SIZES = {"lstm": (128, 2), "lstm_256": (256, 2)}


def test_options_are_printed_without_the_package():
    """scripts/recipes.sh reads this output."""
    command = [sys.executable, "-I", model_options.__file__, "lstm_512"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == model_options.ARCHITECTURES["lstm_512"]


@pytest.mark.parametrize("name", model_options.ARCHITECTURES)
def test_sizes(name):
    args = options.parse_args_and_arch(
        options.get_training_parser(), ["data", *model_options.ARCHITECTURES[name]]
    )
    assert args.share_all_embeddings
    width, layers = SIZES.get(name, (512, 2) if name.endswith("_512") else (128, 4))
    for side in ("encoder", "decoder"):
        assert getattr(args, f"{side}_embed_dim") == width
        assert getattr(args, f"{side}_layers") == layers
