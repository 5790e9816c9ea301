"""The registry of ablations. The registered changes: tests/scripts/test_ablations.py."""

from dataclasses import replace

import pytest

from fairseq_lrn.models import ablations
from fairseq_lrn.models.ablations import layer_parts, register_ablation
from fairseq_lrn.modules.layers import LayerParts


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """A registry with two changes that note in which order they are applied."""
    monkeypatch.setattr(ablations, "ABLATIONS", {})
    for name in ("first", "second"):
        register_ablation(name)(
            lambda parts, name=name: replace(parts, residual=(parts.residual, name))
        )


@pytest.mark.parametrize("names", [None, ""])
def test_no_ablation(names):
    assert layer_parts(names) == LayerParts()


def test_ablations_are_applied_in_turn():
    residual = LayerParts().residual
    assert layer_parts("second").residual == (residual, "second")
    assert layer_parts("second+first").residual == ((residual, "second"), "first")
    assert layer_parts("first").recurrence is LayerParts().recurrence


def test_decorated_function_is_returned():
    @register_ablation("third")
    def third(parts):
        return replace(parts, attention=None)

    assert third(LayerParts()).attention is None


def test_unknown_ablation():
    with pytest.raises(
        ValueError, match=r"--ablation abacus .* \(registered: first, second\); give"
    ):
        layer_parts("first+abacus")


def test_names_that_cannot_be_registered():
    with pytest.raises(ValueError, match="'first' is registered already: choose another name"):
        register_ablation("first")
    with pytest.raises(ValueError, match=r"needs a name without \+"):
        register_ablation("first+second")
