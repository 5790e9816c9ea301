"""Hooks and parametrisations take effect wherever they are registered."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from fairseq_lrn.modules import (
    CELLS,
    LRN,
    AdditiveAttention,
    AlignedRecurrence,
    AttentiveRecurrence,
    LRNDecoderLayer,
    LRNEncoderLayer,
    RecurrentLayer,
)
from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.hooks import is_plain

T, B, C, H, S, M = 4, 3, 6, 4, 5, 8
x, memory, aligned = torch.randn(T, B, C), torch.randn(S, B, M), torch.randn(T, B, M)
padding = torch.zeros(T, B, dtype=torch.bool)
padding[2:, 1] = True


def decoder_layer(**options):
    return LRNDecoderLayer(C, H, "lrn", encoder_embed_dim=M, attention_heads=2, **options)


# A module, and a function that runs it.
CASES = {
    **{
        f"{cell}, {norm}": (
            lambda cell=cell, norm=norm: RecurrentLayer(cell, C, H, bidirectional=True, norm=norm),
            lambda layer: layer(x, torch.zeros(2, B, layer.state_size), padding),
        )
        for cell in CELLS
        for norm in (None, "layer")
    },
    **{
        f"aligned {cell}": (
            lambda cell=cell: AlignedRecurrence(cell, C, M, H),
            lambda part: part(x, aligned, torch.zeros(B, part.state_size), padding, True),
        )
        for cell in ("lrn", "gru")
    },
    **{
        f"attentive {cell}": (
            lambda cell=cell: AttentiveRecurrence(cell, C, M, H, num_heads=2),
            lambda part: part(x, memory[:1], torch.zeros(B, part.state_size), padding)[:3],
        )
        for cell in ("lrn", "sru")
    },
    "attention": (
        lambda: AdditiveAttention(C, M, num_heads=2),
        lambda attention: attention(x[0], memory, torch.zeros(B, S, dtype=torch.bool)),
    ),
    "encoder layer": (
        lambda: LRNEncoderLayer(C, H, "lrn", ffn_dim=7),
        lambda layer: layer(x, torch.zeros(2, B, H)),
    ),
    "decoder layer": (
        lambda: decoder_layer(ffn_dim=7),
        lambda layer: layer(x, torch.zeros(1, B, H), None, *layer.project_memory(memory))[:2],
    ),
    "one position": (
        lambda: decoder_layer(),
        lambda layer: layer(
            x, torch.zeros(T * B, H), None, *layer.project_memory(memory), one_position=True
        )[:2],
    ),
}


@pytest.fixture(params=CASES)
def case(request, randomise):
    build, run = CASES[request.param]
    return randomise(build(), std=0.5).eval(), run


def called_modules(module):
    """The submodules by name, without lists of modules, which nobody calls."""
    return {
        name: part for name, part in module.named_modules() if not isinstance(part, nn.ModuleList)
    }


def test_every_hook_is_called_and_changes_nothing(case):
    module, run = case
    expected = run(module)
    for name, part in called_modules(module).items():
        outputs = []
        handle = part.register_forward_hook(lambda *args, outputs=outputs: outputs.append(args[2]))
        for result, plain in zip(run(module), expected):
            torch.testing.assert_close(result, plain, rtol=0, atol=1e-5)
        assert outputs, name
        handle.remove()


def test_a_projection_shows_its_hook_the_bias():
    layer, outputs = RecurrentLayer("lrn", C, H), []
    projection = layer.cells[0].projection
    nn.init.normal_(projection.bias)
    expected = projection(x)
    projection.register_forward_hook(lambda *args: outputs.append(args[2]))
    layer(x, torch.zeros(1, B, H))
    torch.testing.assert_close(outputs[0], expected)


def test_global_and_backward_hooks(case):
    module, run = case
    parts, seen = called_modules(module), set()
    handle = nn.modules.module.register_module_forward_hook(lambda *args: seen.add(args[0]))
    run(module)
    handle.remove()
    assert seen >= set(parts.values())
    last = list(parts.values())[-1]
    last.register_full_backward_hook(lambda *args: seen.add("backward"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no input of the module may need a gradient
        run(module)[0].sum().backward()
    assert "backward" in seen


def affine_maps(module):
    return [part for part in module.modules() if isinstance(part, (Affine, nn.Linear))]


@pytest.mark.parametrize(
    "change",
    [
        lambda part: nn.utils.weight_norm(part, dim=None),
        nn.utils.spectral_norm,
        lambda part: prune.l1_unstructured(part, "weight", 0.5),
        parametrizations.weight_norm,
    ],
    ids=["weight_norm", "spectral_norm", "prune", "parametrised"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_changed_weights_train_and_count(case, change):
    """Two training steps, then the new weights in evaluation."""
    module, run = case
    for part in affine_maps(module):
        if part.weight.numel() > 8:
            change(part)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = run(module)[0].detach()
    for _ in range(2):
        optimizer.zero_grad()
        run(module.train())[0].square().sum().backward()
        missing = [name for name, one in module.named_parameters() if one.grad is None]
        assert [name for name in missing if "weight" in name and "projection" in name] == []
        optimizer.step()
    with torch.no_grad():
        assert not torch.allclose(run(module.eval())[0], before)


def test_what_makes_a_module_plain():
    assert is_plain(nn.Linear(2, 2), nn.Identity())
    changes = [
        lambda part: part.register_forward_hook(lambda *args: None),
        lambda part: part.register_forward_pre_hook(lambda *args: None),
        lambda part: part.register_full_backward_hook(lambda *args: None),
        lambda part: part.register_full_backward_pre_hook(lambda *args: None),
        parametrizations.orthogonal,
        lambda part: setattr(part, "forward", lambda x: x),
    ]
    for change in changes:
        part = nn.Linear(2, 2)
        change(part)
        assert not is_plain(nn.Identity(), part)


@pytest.mark.filterwarnings("ignore:.*quanti.*")
def test_a_replaced_projection_is_called():
    """As docs/python.md does for quantize_dynamic, and adapters such as LoRA do."""
    lrn = LRN(C, 64, num_layers=2, bidirectional=True).eval()
    expected = lrn(x)[0]
    for cell in (cell for layer in lrn.layers for cell in layer.cells):
        nn.init.normal_(cell.projection.bias, std=0.1)
        plain = nn.Linear(cell.projection.weight.size(1), 3 * 64)
        plain.load_state_dict(cell.projection.state_dict())
        expected, cell.projection = lrn(x)[0], plain
        torch.testing.assert_close(lrn(x)[0], expected)
    quantised = torch.ao.quantization.quantize_dynamic(lrn, {nn.Linear})
    assert not any(type(part) is nn.Linear for part in quantised.modules())
    torch.testing.assert_close(quantised(x)[0], expected, rtol=0, atol=0.05)
