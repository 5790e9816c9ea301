"""LRN and oLRN against numbers that the authors' TensorFlow code produced."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_lrn.modules import LRN

VECTORS = sorted((Path(__file__).parents[1] / "data" / "cells").glob("*.npz"))
TOLERANCE = 2e-5  # suggested with the vectors, for float32


def load(path):
    record = json.loads(path.with_suffix(".json").read_text())["hyperparameters"]
    with np.load(path) as arrays:
        return record, {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def parameters_by_path(lrn):
    """The authors' variable paths (their last part) and our parameters."""
    layer = lrn.layers[0]
    if len(layer.layer_norms) > 0:
        norm = layer.layer_norms[0]
        # The authors add two shifts, the norm's and b, where we have one.
        scale, offset, b = norm.weight, norm.bias, norm.bias
    else:
        scale, offset, b = None, None, layer.projection.bias
    return {
        "hide_x/W_0_0": layer.projection.weight,
        "hide_x/b_0": b,
        "hide_x/ln_0_0/scale": scale,
        "hide_x/ln_0_0/offset": offset,
    }


def build(record, arrays):
    lrn = LRN(
        record["dim_in"],
        record["d"],
        bias=record["ln"] or record["input_bias"],
        batch_first=True,
        activation=record["output_activation"],
        layer_norm=record["ln"],
        output_gate=record["cell"] == "olrn",
    )
    parameters = parameters_by_path(lrn)
    with torch.no_grad():
        for parameter in parameters.values():
            if parameter is not None and parameter.dim() == 1:
                parameter.zero_()
        for name, array in arrays.items():
            if name.startswith("w/"):
                parameter = parameters[name.split("/", 2)[2]]
                if parameter.dim() == 1:
                    parameter.add_(array)
                else:
                    parameter.copy_(array.t())
    return lrn, parameters


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_cell(path):
    record, arrays = load(path)
    lrn, parameters = build(record, arrays)
    x = arrays["x"].requires_grad_()
    h_0 = arrays["init_state"].unsqueeze(0).requires_grad_() if "init_state" in arrays else None

    output, h_n = lrn(x, h_0, padding_mask=arrays["mask"] == 0)
    objective = (output * arrays["R"]).sum()
    objective.backward()

    compared = {
        "outputs": output,
        "final_state": h_n[0],
        "objective": objective,
        "gx": x.grad,
        "ginit": h_0.grad[0] if h_0 is not None else None,
    }
    for name in arrays:
        if name.startswith("g/"):
            grad = parameters[name.split("/", 2)[2]].grad
            compared[name] = grad.t() if grad.dim() == 2 else grad
    left_out = {"x", "mask", "init_state", "R"}
    for name in set(arrays) - left_out:
        if not name.startswith("w/"):
            error = (compared[name] - arrays[name]).abs().max()
            assert error <= TOLERANCE, name


def test_vectors_are_there():
    assert len(VECTORS) == 12
