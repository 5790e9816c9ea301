"""Cells and conditional recurrences against numbers that the authors' TensorFlow code produced."""

import pytest
import torch

from fairseq_lrn.models.translation.zero_weights import recurrence_variables
from fairseq_lrn.modules import AlignedRecurrence, AttentiveRecurrence, RecurrentLayer
from parity import MODULE_TOLERANCE, largest_error, load, starting_with, vectors

CELLS, CONDITIONAL = vectors("cells"), vectors("cond")
# In double precision ours differ by this much from the authors' single precision, with gradients
# up to 13: the noise is theirs.
NOISY = {"atr_att_h4_ln1_init1": 6e-5}
# The state starts at zero, whose variance layer norm divides by: rounding is magnified.
SINGLE_PRECISION_NOISE = {"lstm_ln1_init0": 3e-5}


def tolerance(path, dtype, expected):
    """In double precision that of the vectors; single precision rounds relative to the size."""
    if dtype == torch.float64:
        return NOISY.get(path.stem, MODULE_TOLERANCE)
    size = max(1.0, expected.abs().max().item())
    return SINGLE_PRECISION_NOISE.get(path.stem, MODULE_TOLERANCE) * size


def norm_of(record):
    if not record["ln"]:
        return None
    return "rms" if record.get("normaliser") == "rms" else "layer"


def assign(variables, weights):
    """Set the parameters; those that are sums of several of the authors' take the sum."""
    with torch.no_grad():
        for variable in variables.values():
            variable.parameter.zero_()
        for name, value in weights.items():
            variables[name].view(variables[name].parameter).add_(value)


def compare(path, ours, arrays):
    """All that was recorded beside the inputs, ours being by the same names."""
    left_out = {"x", "mask", "memory", "mem_mask", "init_state", "R", "Q"}
    # One-hot there, and of no use to anybody.
    left_out |= {"attentions"} if "attentions" not in ours else set()
    compared = 0
    for name, expected in arrays.items():
        if name not in left_out and not name.startswith("w/"):
            error = largest_error(ours[name], expected)
            limit = tolerance(path, expected.dtype, expected)
            assert error <= limit, f"{name}: {error} > {limit}"
            compared += 1
    assert compared >= len(ours) - 2  # outputs_full and final_state_full are not always there


def run(path, recurrence, variables, arrays, forward):
    assign(variables, starting_with(arrays, "w/"))
    x = arrays["x"].transpose(0, 1).clone().requires_grad_()
    zeros = x.new_zeros(x.size(1), recurrence.state_size)
    state = arrays.get("init_state", zeros).detach().clone()
    state.requires_grad_()
    padding_mask = arrays["mask"].t() == 0
    ours, objective = forward(x, state, padding_mask)
    objective.backward()
    ours.update(objective=objective, gx=x.grad.transpose(0, 1))
    if "init_state" in arrays:
        ours["ginit"] = state.grad
    for name, variable in variables.items():
        if f"g/{name}" in arrays:
            ours[f"g/{name}"] = variable.of(variable.parameter.grad)
    compare(path, ours, arrays)
    assert starting_with(arrays, "g/").keys() == starting_with(arrays, "w/").keys()


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
@pytest.mark.parametrize("path", **CELLS)
def test_cell(path, dtype):
    record, arrays = load(path, dtype)
    if norm_of(record) == "rms" and not hasattr(torch.nn, "RMSNorm"):
        pytest.skip("this torch has no RMSNorm")
    layer = RecurrentLayer(
        record["cell"],
        record["dim_in"],
        record["d"],
        bias=record["ln"] or record["input_bias"],
        activation="tanh" if record["output_activation"] == "tanh" else "identity",
        norm=norm_of(record),
    ).to(dtype)
    variables = dict(recurrence_variables("", layer, record["cell"]))
    if record["input_bias"] and norm_of(record) == "layer":
        # The authors add two shifts, the norm's and b, where the projection has one.
        fetch = f"fetch_state_{record['cell']}/"
        for name in ("hide_x/", "gate_x/"):
            if f"{fetch}{name}ln_0_0/offset" in variables:
                variables[f"{fetch}{name}b_0"] = variables[f"{fetch}{name}ln_0_0/offset"]

    def forward(x, state, padding_mask):
        output, h_n = layer(x, state.unsqueeze(0), padding_mask)
        output = output.transpose(0, 1)
        ours = {
            "outputs": output,
            "final_state": h_n[0, :, : record["d"]],
            "final_state_full": h_n[0],
        }
        if layer.state_size > record["d"]:
            # The state at every step: the final one of every beginning.
            ours["outputs_full"] = torch.stack(
                [layer(x[:t], state[None], padding_mask[:t])[1][0] for t in range(1, len(x) + 1)], 1
            )
        return ours, (output * arrays["R"]).sum()

    run(path, layer, variables, arrays, forward)


@DTYPES
@pytest.mark.parametrize("path", **CONDITIONAL)
def test_conditional_recurrence(path, dtype):
    record, arrays = load(path, dtype)
    sizes = record["dim_in"], record["dim_mem"], record["d"]
    options = {"activation": "identity", "bias": record["ln"], "norm": norm_of(record)}
    if record["one2one"]:
        recurrence = AlignedRecurrence(record["cell"], *sizes, **options)
    else:
        recurrence = AttentiveRecurrence(
            record["cell"], *sizes, num_heads=record["num_heads"], **options
        )
    recurrence.to(dtype)
    variables = dict(recurrence_variables("", recurrence, record["cell"]))
    memory = arrays["memory"].transpose(0, 1).clone().requires_grad_()

    def forward(x, state, padding_mask):
        if record["one2one"]:
            h, final = recurrence(x, memory, state, padding_mask)
            h = h.transpose(0, 1)
            ours, objective = {}, (h * arrays["R"]).sum()
        else:
            h, final, contexts, weights = recurrence(
                x, memory, state, padding_mask, arrays["mem_mask"] == 0
            )
            h, contexts = h.transpose(0, 1), contexts.transpose(0, 1)
            ours = {"contexts": contexts, "attentions": weights.permute(1, 3, 0, 2)}
            objective = (h * arrays["R"]).sum() + (contexts * arrays["Q"]).sum()
        ours.update(outputs=h, final_state=final[:, : record["d"]], final_state_full=final)
        if "outputs_full" in arrays:
            ours["outputs_full"] = torch.stack(
                [beginning(x, state, padding_mask, t) for t in range(1, len(x) + 1)], 1
            )
        return ours, objective

    def beginning(x, state, padding_mask, t):
        if record["one2one"]:
            return recurrence(x[:t], memory[:t], state, padding_mask[:t])[1]
        return recurrence(x[:t], memory, state, padding_mask[:t], arrays["mem_mask"] == 0)[1]

    gmemory = arrays.pop("gmemory")
    run(path, recurrence, variables, arrays, forward)
    assert largest_error(memory.grad.transpose(0, 1), gmemory) <= tolerance(path, dtype, gmemory)


def test_all_vectors_are_there():
    assert (len(CELLS["ids"]), len(CONDITIONAL["ids"])) == (35, 26)
    assert {name.split("_")[0] for name in CONDITIONAL["ids"]} == {
        "atr",
        "gru",
        "lrn",
        "olrn",
        "sru",
    }
