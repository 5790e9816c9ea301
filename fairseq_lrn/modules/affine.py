"""Affine maps with an optional normalisation: the building block of the authors' models."""

from typing import Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.modules.linear import Packable

NORMS = ("layer", "rms")
# The epsilon of the authors' toolkit (bzhangGo/zero), added to the variance.
NORM_EPS = 1e-8


class Affine(Packable, nn.Module):
    r"""An affine map that normalises the matrix product before it adds the bias: norm(x W) + b.

    Args:
        in_features: width C of the input.
        widths: widths of the parts of the output, for example the gates and the candidate. Each
            part has its own norm, which normalises all gates of the part jointly. A single number
            is a single part.
        bias: add b.
        norm: ``"layer"``, ``"rms"`` or None. Layer norm has a gain and a shift, RMS norm a gain.
        shift: whether layer norm has a shift. With a shift, b is redundant. The authors' maps with
            a bias have both, and converted checkpoints need both.

    Raises:
        ValueError: *norm* is unknown, or this version of torch has no RMS norm.

    Source: ``lin`` in the authors' toolkit (bzhangGo/zero, ``func.py: linear``).
    """

    widths: List[int]

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        bias: bool = True,
        norm: Optional[str] = None,
        shift: bool = True,
    ):
        super().__init__()
        if norm is not None and norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS} or None, not {norm!r}")
        self.widths = [widths] if isinstance(widths, int) else list(widths)
        out_features = sum(self.widths)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_features)) if bias else None)
        self.norms = nn.ModuleList()  # one norm per part; empty without normalisation
        if norm is not None:
            self.norms.extend(_norm(norm, width, shift) for width in self.widths)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise each part's matrix Xavier-uniformly; biases and shifts are 0, gains 1."""
        for part in self.weight.split(self.widths):  # width x C each
            nn.init.xavier_uniform_(part)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        for norm in self.norms:
            norm.reset_parameters()

    def extra_repr(self) -> str:
        return f"{self.weight.size(1)}, {self.widths}, bias={self.bias is not None}"

    def forward(self, x: Tensor) -> Tensor:
        """Compute norm(x W) + b, ``... x sum(widths)``, from x, ``... x C``."""
        if len(self.norms) == 0:
            return self.multiply(x, self.bias)
        y = self.normalised_product(x)
        return y if self.bias is None else y + self.bias

    def normalised_product(self, x: Tensor) -> Tensor:
        """Compute norm(x W), ``... x sum(widths)``, from x, ``... x C``, without the bias."""
        y = self.multiply(x, None)
        if len(self.norms) == 0:
            return y
        parts = y.split(self.widths, dim=-1)  # ... x width each
        normalised: List[Tensor] = []
        for index, norm in enumerate(self.norms):
            normalised.append(norm(parts[index]))
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised, dim=-1)


def is_plain_affine(*modules: nn.Module) -> bool:
    """Whether each module is an :class:`Affine` whose parameters may be used without calling it."""
    return all(type(module) is Affine for module in modules) and is_plain(*modules)


def _norm(kind: str, width: int, shift: bool) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(width, eps=NORM_EPS, bias=shift)
    if not hasattr(nn, "RMSNorm"):
        raise ValueError(
            f'norm="rms" needs torch 2.4 or later, not {torch.__version__}: update torch, '
            'or use norm="layer"'
        )
    return nn.RMSNorm(width, eps=NORM_EPS)


def is_standard_norm(norm: nn.Module, eps: float = NORM_EPS, needs_shift: bool = False) -> bool:
    """Whether a fused operator can compute a norm: a layer norm with a gain and this epsilon.

    Args:
        norm: the norm.
        eps: the epsilon that the operator is given.
        needs_shift: whether the norm must have a shift, too.
    """
    return (
        isinstance(norm, nn.LayerNorm)
        and norm.eps == eps
        and norm.weight is not None
        and (norm.bias is not None or not needs_shift)
    )


def affine_parameters(name: str, module: Packable) -> Dict[str, Optional[Tensor]]:
    """Weight and bias of a map by their names in the fused operators, which begin with *name*."""
    return {f"{name}_weight": module.fastest_weight(), f"{name}_bias": module.bias}


def norm_parameters(name: str, module: Optional[nn.Module]) -> Dict[str, Optional[Tensor]]:
    """Gain and shift of a norm by their names in the fused operators; None for what is absent."""
    is_norm = isinstance(module, nn.LayerNorm)
    return {
        f"{name}_gain": module.weight if is_norm else None,
        f"{name}_shift": module.bias if is_norm else None,
    }


def map_parameters(name: str, module: Affine) -> Dict[str, Optional[Tensor]]:
    """The parameters of a map with at most one norm, by their names in the fused operators."""
    norm = module.norms[0] if len(module.norms) == 1 else None
    return {**affine_parameters(name, module), **norm_parameters(name, norm)}
