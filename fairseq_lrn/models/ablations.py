"""Ablations: registered changes of the layers, selected by the model option ``--ablation``.

Experiments register their changes in a user directory of their own, as ``scripts/ablations`` does::

    @register_ablation("rms-norm")
    def rms_norm(parts: LayerParts) -> LayerParts:
        return replace(parts, residual=RMSResidualNorm)
"""

from typing import Callable, Dict, Optional

from fairseq_lrn.modules.layers import LayerParts

Ablation = Callable[[LayerParts], LayerParts]
ABLATIONS: Dict[str, Ablation] = {}


def register_ablation(name: str) -> Callable[[Ablation], Ablation]:
    """Register a function that replaces some of the parts of the layers.

    Args:
        name: its name in ``--ablation``.

    Raises:
        ValueError: the name is taken, or contains a plus sign.
    """
    if name in ABLATIONS or "+" in name:
        raise ValueError(f"the ablation {name!r} needs another name, without +")

    def register(ablation: Ablation) -> Ablation:
        ABLATIONS[name] = ablation
        return ablation

    return register


def layer_parts(names: Optional[str]) -> LayerParts:
    """The parts of the layers with the ablations *names* applied in turn.

    Args:
        names: registered names, joined by ``+``; None or empty: no ablation.

    Raises:
        ValueError: a name is not registered.
    """
    parts = LayerParts()
    for name in names.split("+") if names else ():
        if name not in ABLATIONS:
            known = ", ".join(sorted(ABLATIONS)) or "none"
            raise ValueError(
                f"--ablation {name} is not registered (registered: {known}); "
                "give the user directory that registers it, e.g. --user-dir scripts/ablations"
            )
        parts = ABLATIONS[name](parts)
    return parts
