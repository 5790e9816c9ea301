"""Affine maps with an optional normalisation, as the authors' models are made of."""

from typing import List, Optional, Sequence

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.linear import Packable

NORMS = ("layer", "rms")
# As in the authors' toolkit (bzhangGo/zero), where it stands inside the square root.
NORM_EPS = 1e-8


class Affine(Packable, nn.Module):
    r"""An affine map whose product is normalised before the bias is added: norm(x W) + b.

    Args:
        in_features: width C of the input.
        widths: widths of the output's parts; each part is normalised by itself, all gates in a
            part jointly. A single number is a single part.
        bias: add b.
        norm: ``"layer"``, ``"rms"`` or None. Layer norm has a gain and a shift, RMS norm a gain.
        shift: layer norm has a shift. Where it has one, b adds nothing that it could not; the
            authors' maps with a bias have both, and so must ours to be theirs.

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
        self.norms = nn.ModuleList()  # one a part, or none
        if norm is not None:
            self.norms.extend(_norm(norm, width, shift) for width in self.widths)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform for each part's matrix by itself, zero biases, unit gains."""
        for part in self.weight.split(self.widths):
            nn.init.xavier_uniform_(part)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        for norm in self.norms:
            norm.reset_parameters()

    def extra_repr(self) -> str:
        return f"{self.weight.size(1)}, {self.widths}, bias={self.bias is not None}"

    def forward(self, x: Tensor) -> Tensor:
        """From ``... x C`` to ``... x sum(widths)``."""
        if len(self.norms) == 0:
            return self.multiply(x, self.bias)
        y = self.product(x)
        return y if self.bias is None else y + self.bias

    def product(self, x: Tensor) -> Tensor:
        """The same without b: norm(x W)."""
        y = self.multiply(x, None)
        if len(self.norms) == 0:
            return y
        parts = y.split(self.widths, dim=-1)
        normalised: List[Tensor] = []
        for index, norm in enumerate(self.norms):
            normalised.append(norm(parts[index]))
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised, dim=-1)


def _norm(kind: str, width: int, shift: bool) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(width, eps=NORM_EPS, bias=shift)
    if not hasattr(nn, "RMSNorm"):
        raise ValueError(
            f'norm="rms" needs torch 2.4 or later, not {torch.__version__}: update torch, '
            'or take norm="layer"'
        )
    return nn.RMSNorm(width, eps=NORM_EPS)
