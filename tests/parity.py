"""Numbers that the authors' TensorFlow code produced, as the parity tests read them."""

import json
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "vectors"
# Suggested with the vectors, for float32: cells and conditional recurrences, whole models.
MODULE_TOLERANCE, MODEL_TOLERANCE = 2e-5, 1e-4


def vectors(group):
    """Paths of a group's vectors, and ids for pytest."""
    paths = sorted((DATA / group).glob("*.npz"))
    return {"argvalues": paths, "ids": [path.stem for path in paths]}


def having(prefix, cases):
    """Those of the cases that have arrays by such names."""
    kept = []
    for path in cases["argvalues"]:
        with np.load(path) as arrays:
            if any(name.startswith(prefix) for name in arrays.files):
                kept.append(path)
    return {"argvalues": kept, "ids": [path.stem for path in kept]}


def load(path, dtype=torch.float32):
    """Hyper-parameters and arrays (as tensors, real numbers as *dtype*) of a case."""
    record = json.loads(path.with_suffix(".json").read_text())["hyperparameters"]
    with np.load(path) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return record, {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def starting_with(arrays, prefix):
    """The arrays behind a prefix, without it."""
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}


def largest_error(ours, theirs):
    """Largest absolute difference; shapes must be equal."""
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item() if ours.numel() else 0.0
