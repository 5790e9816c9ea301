"""What is derived from modules follows their changes."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.fingerprint import derived, submodules
from fairseq_lrn.modules.linear import Linear


@pytest.fixture
def root():
    return nn.ModuleDict(
        {"inner": nn.Sequential(Linear(3, 3), Dropout(0.1)), "norm": nn.LayerNorm(3)}
    ).eval()


def replace_linear(root):
    root["inner"][0] = Linear(3, 3).eval()


def write_parameter(root):
    with torch.no_grad():
        root["norm"].weight.mul_(2)


def new_parameter(root):
    root["norm"].weight = nn.Parameter(torch.ones(3))


CHANGES = {
    "a module": replace_linear,
    "one module more": lambda root: root.add_module("more", nn.Identity()),
    "a value": write_parameter,
    "a parameter": new_parameter,
    "its data": lambda root: setattr(root["norm"].weight, "data", torch.ones(3)),
    "a hook": lambda root: root["inner"][0].register_forward_hook(lambda *_: None),
    "a hook of the root": lambda root: root.register_forward_hook(lambda *_: None),
    "weight norm": lambda root: parametrizations.weight_norm(root["inner"][0]),
    "a number": lambda root: setattr(root["norm"], "eps", 1e-3),
    "a flag": lambda root: setattr(root["inner"][1], "apply_during_inference", True),
    "packed weights": lambda root: root["inner"][0].__dict__.update(_packed=object()),
    "training": lambda root: root.train(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_derived_again_after_a_change(root, change):
    calls = []

    def build():
        calls.append(1)
        return len(calls)

    assert [derived(root, build), derived(root, build)] == [1, 1]
    CHANGES[change](root)
    assert [derived(root, build), derived(root, build)] == [2, 2]


def test_a_hook_moves_to_another_module(root):
    calls = []
    for part in root.modules():
        handle = part.register_forward_hook(lambda *_: None)
        derived(root, lambda: calls.append(1))
        handle.remove()
    assert len(calls) == len(list(root.modules()))


@pytest.mark.parametrize("change", CHANGES)
def test_submodules(root, change):
    for _ in range(2):
        assert submodules(root) == list(root.modules())[1:]
        CHANGES[change](root)
        assert submodules(root) == list(root.modules())[1:]


@pytest.mark.parametrize("kind", ["packed", "parameter"])
def test_identities_are_not_used_again(root, kind):
    """A new object often gets the address of one that was freed just before."""
    calls = []
    for _ in range(20):
        derived(root, lambda: calls.append(1))
        if kind == "packed":
            root["inner"][0].__dict__["_packed"] = None
            root["inner"][0].__dict__["_packed"] = object()
        else:
            root["norm"].weight = None
            root["norm"].weight = nn.Parameter(torch.ones(3))
    assert len(calls) == 20


def test_nothing_is_kept_alive():
    module = nn.Sequential(Linear(2, 2))
    derived(module, lambda: 1)
    reference = weakref.ref(module)
    del module
    gc.collect()
    assert reference() is None
