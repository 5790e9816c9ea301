"""What the arguments of the scan must be."""

import contextlib
from typing import Iterator, Optional, Sequence

import torch
from torch import Tensor

ACTIVATIONS = ("tanh", "identity")


def check_contract(
    kqv: Sequence[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Sequence[Tensor],
    activation: str,
) -> None:
    """Check the arguments of the scan over D directions, in the operator's own form.

    Args:
        kqv: projections of each of one or two directions, ``T x B x 3H`` or ``T x B x 4H``.
        h0: initial states, ``D x B x H``.
        padding_mask: ``T x B``, boolean.
        bias: ``3H`` or ``4H`` for each direction, or empty.
        activation: one of :data:`ACTIVATIONS`.

    Raises:
        TypeError: a tensor has an unsuitable type.
        ValueError: shapes do not fit, devices differ, or *activation* is unknown.
    """
    if not 1 <= len(kqv) <= 2:
        raise ValueError(f"kqv must be a tensor or a pair of tensors, not {len(kqv)} tensors")
    if h0.dim() != 3:
        raise ValueError(f"h0 must be B x H, or 2 x B x H for a pair, not {_sizes(h0)}")
    if not h0.is_floating_point():
        raise TypeError(f"h0 must be floating point, not {h0.dtype}")
    _check_projections(kqv, h0)
    time, batch, width = kqv[0].shape
    if h0.shape[:2] != (len(kqv), batch):
        expected = "2 x B x H" if len(kqv) == 2 else "B x H"
        given = h0 if len(kqv) == 2 else h0[0]
        raise ValueError(
            f"h0 must be {expected} with B={batch} as in kqv, but its shape is {_sizes(given)}"
        )
    hidden = h0.size(2)
    if width not in (3 * hidden, 4 * hidden):
        raise ValueError(
            f"the last dimension of kqv must be 3H or 4H with H={hidden} as in h0 "
            f"({3 * hidden} or {4 * hidden}), but it is {width}"
        )
    if padding_mask is not None:
        _check_mask(padding_mask, time, batch, h0.device)
    if bias:
        _check_bias(bias, len(kqv), width, h0.device)
    _check_dense(*kqv, h0, padding_mask, *bias)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, not {activation!r}")


def check_operator_call(
    kqv: Sequence[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Sequence[Tensor],
    activation: str,
) -> None:
    """Keep a direct call of the operator from reading memory outside of its tensors.

    Raises:
        RuntimeError: the arguments break the contract (:func:`check_contract`).
    """
    with _errors_of_operator():
        check_contract(kqv, h0, padding_mask, bias, activation)


def check_backward_call(
    grad_h: Tensor,
    kqv: Sequence[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Sequence[Tensor],
    states: Tensor,
    activation: str,
) -> None:
    """:func:`check_operator_call` for the backward operator.

    Args:
        grad_h, states: gradient of the output, and the states, ``T x B x (D*H)`` each.

    Raises:
        RuntimeError: the arguments break the contract, or shapes or devices differ.
    """
    with _errors_of_operator():
        check_contract(kqv, h0, padding_mask, bias, activation)
        expected = (*kqv[0].shape[:2], len(kqv) * h0.size(2))
        for name, tensor in (("grad_h", grad_h), ("states", states)):
            _check_dense(tensor)
            if tensor.shape != expected:
                raise ValueError(f"{name} must be {expected}, but its shape is {_sizes(tensor)}")
            if tensor.device != h0.device:
                raise ValueError(f"{name} is on {tensor.device}, but h0 is on {h0.device}")


@contextlib.contextmanager
def _errors_of_operator() -> Iterator[None]:
    """Operators raise RuntimeErrors that name them."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"fairseq_lrn::lrn_scan: {error}") from error


def _check_dense(*tensors: Optional[Tensor]) -> None:
    for tensor in tensors:
        if tensor is not None and tensor.layout != torch.strided:
            raise TypeError(f"all tensors must be dense (torch.strided), not {tensor.layout}")


def _check_projections(kqv: Sequence[Tensor], h0: Tensor) -> None:
    for projections in kqv:
        if projections.dim() != 3:
            raise ValueError(
                "kqv must have 3 dimensions, T x B x 3H (or 4H), "
                f"but its shape is {_sizes(projections)}"
            )
        if not projections.is_floating_point():
            raise TypeError(f"kqv must be floating point, not {projections.dtype}")
        if projections.device != h0.device:
            raise ValueError(f"h0 is on {h0.device}, but kqv is on {projections.device}")
    first, last = kqv[0], kqv[-1]
    if first is not last and (first.shape != last.shape or first.dtype != last.dtype):
        raise ValueError(
            "both tensors of kqv must have the same shape and type, not "
            f"{_sizes(first)} {first.dtype} and {_sizes(last)} {last.dtype}"
        )


def _check_mask(padding_mask: Tensor, time: int, batch: int, device: torch.device) -> None:
    if padding_mask.dtype != torch.bool:
        raise TypeError(
            f"padding_mask must be boolean (true at padding), not {padding_mask.dtype}; "
            "convert it with .bool()"
        )
    if padding_mask.shape != (time, batch):
        raise ValueError(
            f"padding_mask must be T x B = {(time, batch)}, but its shape is {_sizes(padding_mask)}"
        )
    if padding_mask.device != device:
        raise ValueError(f"padding_mask is on {padding_mask.device}, but kqv on {device}")


def _check_bias(bias: Sequence[Tensor], directions: int, width: int, device: torch.device) -> None:
    fits = all(vector.shape == (width,) for vector in bias)
    if len(bias) != directions or not fits:
        expected = f"a pair of {width} values each" if directions == 2 else f"{width} values"
        raise ValueError(
            f"bias must be {expected}, because kqv is {width} wide, but its shape is "
            f"{', '.join(map(_sizes, bias))}"
        )
    for vector in bias:
        if vector.device != device:
            raise ValueError(f"bias is on {vector.device}, but kqv on {device}")


def _sizes(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
