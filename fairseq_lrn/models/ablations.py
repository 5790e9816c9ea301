"""Ablations: registered changes of the layers, selected by the model option ``--ablation``.

An experiment registers its changes in a user directory, like ``scripts/ablations``::

    @register_ablation("rms-norm")
    def rms_norm(parts: LayerParts) -> LayerParts:
        return replace(parts, residual=RMSResidualNorm)
"""

from typing import Callable, Dict, Optional

from fairseq_lrn.modules.layers import LayerParts

Ablation = Callable[[LayerParts], LayerParts]
ABLATIONS: Dict[str, Ablation] = {}


def register_ablation(name: str) -> Callable[[Ablation], Ablation]:
    """Register a function that replaces some of the classes that layers are built from.

    Args:
        name: name of the ablation in ``--ablation``.

    Raises:
        ValueError: the name is already registered, or contains a plus sign.
    """
    if name in ABLATIONS:
        raise ValueError(f"the ablation {name!r} is registered already: choose another name")
    if "+" in name:
        raise ValueError(f"the ablation {name!r} needs a name without +, which joins names")

    def register(ablation: Ablation) -> Ablation:
        ABLATIONS[name] = ablation
        return ablation

    return register


def layer_parts(names: Optional[str]) -> LayerParts:
    """The classes that layers are built from, with the ablations *names* applied in turn.

    Args:
        names: registered names, joined by ``+``. None or an empty string selects no ablation.

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
