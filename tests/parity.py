"""Readers of the numbers that the authors' TensorFlow code computed (tests/vectors)."""

import json
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "vectors"
# The vectors come with these tolerances for float32: for cells and conditional recurrences, and for
# whole models.
MODULE_TOLERANCE, MODEL_TOLERANCE = 2e-5, 1e-4


def vectors(group):
    """The recorded cases of a group, as arguments of pytest.mark.parametrize."""
    paths = sorted((DATA / group).glob("*.npz"))
    return {"argvalues": paths, "ids": [path.stem for path in paths]}


def having(prefix, cases):
    """The cases with an array whose name starts with *prefix*."""
    kept = []
    for path in cases["argvalues"]:
        with np.load(path) as arrays:
            if any(name.startswith(prefix) for name in arrays.files):
                kept.append(path)
    return {"argvalues": kept, "ids": [path.stem for path in kept]}


def load(path, dtype=torch.float32):
    """The hyperparameters and the arrays of a case, with real numbers as *dtype*."""
    record = json.loads(path.with_suffix(".json").read_text())["hyperparameters"]
    with np.load(path) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return record, {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def starting_with(arrays, prefix):
    """The arrays whose names start with *prefix*, by their names without it."""
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}


def largest_error(actual, expected):
    """The largest absolute difference. The shapes must be equal."""
    assert actual.shape == expected.shape
    return (actual - expected).abs().max().item() if actual.numel() else 0.0
