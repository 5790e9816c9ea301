"""Cells and conditional recurrences equal recorded numbers of the authors' TensorFlow code."""

import pytest
import torch

from fairseq_lrn.models.translation.zero_weights import recurrence_variables
from fairseq_lrn.modules import AlignedRecurrence, AttentiveRecurrence, RecurrentLayer
from parity import MODULE_TOLERANCE, largest_error, load, starting_with, vectors

CELLS, CONDITIONAL = vectors("cells"), vectors("cond")
# The numbers were recorded in single precision. In this case, with gradients up to 13, their own
# rounding errors exceed the tolerance: the modules in double precision differ by this much.
NOISY = {"atr_att_h4_ln1_init1": 6e-5}
# The initial state is zero. Layer norm divides by its variance, which magnifies rounding errors.
SINGLE_PRECISION_NOISE = {"lstm_ln1_init0": 3e-5}


def tolerance(path, dtype, expected):
    """The largest error that a case allows; in single precision relative to the expected values."""
    if dtype == torch.float64:
        return NOISY.get(path.stem, MODULE_TOLERANCE)
    size = max(1.0, expected.abs().max().item())
    return SINGLE_PRECISION_NOISE.get(path.stem, MODULE_TOLERANCE) * size


def norm_of(record):
    if not record["ln"]:
        return None
    return "rms" if record.get("normaliser") == "rms" else "layer"


def assign(variables, weights):
    """Set the parameters to the authors' weights; a parameter may be the sum of several weights."""
    with torch.no_grad():
        for variable in variables.values():
            variable.parameter.zero_()
        for name, value in weights.items():
            variables[name].view(variables[name].parameter).add_(value)


def compare(path, results, arrays):
    """Compare the results with all recorded arrays of the same names, except the inputs."""
    inputs = {"x", "mask", "memory", "mem_mask", "init_state", "R", "Q"}
    # An aligned recurrence has no attention weights; the recorded ones are one-hot.
    ignored = inputs if "attentions" in results else inputs | {"attentions"}
    compared = 0
    for name, expected in arrays.items():
        if name not in ignored and not name.startswith("w/"):
            error = largest_error(results[name], expected)
            limit = tolerance(path, expected.dtype, expected)
            assert error <= limit, f"{name}: {error} > {limit}"
            compared += 1
    assert compared >= len(results) - 2  # some cases lack outputs_full and final_state_full


def check(path, recurrence, variables, arrays, forward):
    """Compare outputs, states and gradients of a recurrence with the recorded arrays.

    ``forward(x, state, padding_mask)`` returns results by name and the objective.
    """
    assign(variables, starting_with(arrays, "w/"))
    x = arrays["x"].transpose(0, 1).clone().requires_grad_()  # B x T x C to T x B x C
    zeros = x.new_zeros(x.size(1), recurrence.state_size)
    state = arrays.get("init_state", zeros).detach().clone()
    state.requires_grad_()
    padding_mask = arrays["mask"].t() == 0
    results, objective = forward(x, state, padding_mask)
    objective.backward()
    results.update(objective=objective, gx=x.grad.transpose(0, 1))
    if "init_state" in arrays:
        results["ginit"] = state.grad
    for name, variable in variables.items():
        if f"g/{name}" in arrays:
            results[f"g/{name}"] = variable.select(variable.parameter.grad)
    compare(path, results, arrays)
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
        # The authors add two shifts, that of the norm and b. The projection has a single shift.
        fetch = f"fetch_state_{record['cell']}/"
        for name in ("hide_x/", "gate_x/"):
            if f"{fetch}{name}ln_0_0/offset" in variables:
                variables[f"{fetch}{name}b_0"] = variables[f"{fetch}{name}ln_0_0/offset"]

    def forward(x, state, padding_mask):
        output, h_n = layer(x, state.unsqueeze(0), padding_mask)
        output = output.transpose(0, 1)  # T x B x H to B x T x H
        results = {
            "outputs": output,
            "final_state": h_n[0, :, : record["d"]],
            "final_state_full": h_n[0],
        }
        if layer.state_size > record["d"]:
            # The state at every step is the final state of every prefix.
            results["outputs_full"] = torch.stack(
                [layer(x[:t], state[None], padding_mask[:t])[1][0] for t in range(1, len(x) + 1)], 1
            )
        return results, (output * arrays["R"]).sum()

    check(path, layer, variables, arrays, forward)


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
    memory = arrays["memory"].transpose(0, 1).clone().requires_grad_()  # B x S x M to S x B x M

    def forward(x, state, padding_mask):
        if record["one2one"]:
            h, final = recurrence(x, memory, state, padding_mask)
            h = h.transpose(0, 1)  # T x B x H to B x T x H
            results, objective = {}, (h * arrays["R"]).sum()
        else:
            h, final, contexts, weights = recurrence(
                x, memory, state, padding_mask, arrays["mem_mask"] == 0
            )
            h, contexts = h.transpose(0, 1), contexts.transpose(0, 1)
            # T x B x S x heads to B x heads x T x S
            results = {"contexts": contexts, "attentions": weights.permute(1, 3, 0, 2)}
            objective = (h * arrays["R"]).sum() + (contexts * arrays["Q"]).sum()
        results.update(outputs=h, final_state=final[:, : record["d"]], final_state_full=final)
        if "outputs_full" in arrays:
            results["outputs_full"] = torch.stack(
                [state_after(t, x, state, padding_mask) for t in range(1, len(x) + 1)], 1
            )
        return results, objective

    def state_after(t, x, state, padding_mask):
        if record["one2one"]:
            return recurrence(x[:t], memory[:t], state, padding_mask[:t])[1]
        return recurrence(x[:t], memory, state, padding_mask[:t], arrays["mem_mask"] == 0)[1]

    gmemory = arrays.pop("gmemory")
    check(path, recurrence, variables, arrays, forward)
    assert largest_error(memory.grad.transpose(0, 1), gmemory) <= tolerance(path, dtype, gmemory)


def test_no_recorded_case_is_missing():
    assert (len(CELLS["ids"]), len(CONDITIONAL["ids"])) == (35, 26)
    cells = {name.split("_")[0] for name in CONDITIONAL["ids"]}
    assert cells == {"atr", "gru", "lrn", "olrn", "sru"}
