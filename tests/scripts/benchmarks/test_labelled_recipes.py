"""The options of classifiers and taggers."""

import subprocess
import sys

import pytest
from fairseq import options

import fairseq_lrn  # noqa: F401  (registers the models)
from benchmarks.labelled_recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_fairseq_takes_the_options(root, name):
    script = root / "scripts" / "benchmarks" / "labelled_recipes.py"
    printed = subprocess.run(
        [sys.executable, str(script), name], capture_output=True, text=True, check=True
    ).stdout
    words = printed.split()
    assert words == RECIPES[name].split()
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, ["data", *words, "--cell", "sru"])
    assert args.cell == "sru" and args.arch.startswith("lrn_")
