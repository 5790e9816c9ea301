"""Attention of a translation to its source, between subwords or words."""

import inspect
from typing import Any, List, Mapping, Sequence

import torch
from torch import Tensor

from fairseq_lrn.errors import InputError


@torch.no_grad()
def subword_attention(models: Sequence[Any], sample: Mapping[str, Any], pad: int) -> List[Tensor]:
    """Attention of each target token to each source token, as the mean over the models.

    Args:
        models: fairseq models on the device of the batch.
        sample: a batch of fairseq with sources, padded on the left, and targets.
        pad: index of padding.

    Returns:
        the weights of each pair on the CPU, ``T x S``, in the order of the batch.

    Raises:
        InputError: a model returns no attention.
    """
    total: Any = 0.0
    for model in models:
        is_optional = "features_only" in inspect.signature(model.forward).parameters
        options = {"features_only": True} if is_optional else {}  # logits are not needed
        _, extra = _attending(model)(**sample["net_input"], **options)
        # fairseq's LSTM returns the weights themselves.
        weights = extra.get("attn") if isinstance(extra, dict) else extra
        weights = weights[0] if isinstance(weights, (list, tuple)) else weights
        if weights is None:
            raise InputError(f"{type(model).__name__} returns no attention: translate without it")
        total = total + weights.float().cpu()  # B x T x S
    mean = total / len(models)
    heights, widths = (
        tokens.ne(pad).sum(1).tolist()
        for tokens in (sample["target"], sample["net_input"]["src_tokens"])
    )
    return [
        rows[:height, rows.size(1) - width :] for rows, height, width in zip(mean, heights, widths)
    ]


def _attending(model: Any) -> Any:
    """A view of a model prepared for generation, whose decoder returns attention weights.

    It shares all parameters and layers with the model, which stays as it is, because other threads
    may use it: fairseq's decoders read the attribute ``need_attn``.
    """
    view, decoder = _view(model), _view(model.decoder)
    decoder.need_attn = True
    view.__dict__["_modules"] = {**model._modules, "decoder": decoder}
    return view


def _view(module: torch.nn.Module) -> Any:
    """A module with the same attributes; copy.copy would call methods for unpickling."""
    view = object.__new__(type(module))
    view.__dict__.update(vars(module))
    return view


def merge(attention: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Attention between words, from the attention between subwords.

    The weights of a source word's subwords are added. Over the subwords of a target word, the mean
    is taken, so each row still sums to 1, except for a word without subwords, whose row is 0.

    Args:
        attention: attention of t target tokens to s source tokens, EOS included, ``t x s``.
        rows: index of the word that each of the t target tokens belongs to; EOS is the last word.
        columns: the same for each of the s source tokens.

    Returns:
        attention of T words to S words, EOS included, ``T x S``.
    """
    row_index, column_index = (
        torch.tensor(indices, device=attention.device) for indices in (rows, columns)
    )
    height, width = rows[-1] + 1, columns[-1] + 1
    # t x s to t x S to T x S
    merged = attention.new_zeros(attention.size(0), width).index_add_(1, column_index, attention)
    merged = attention.new_zeros(height, width).index_add_(0, row_index, merged)
    return merged / row_index.bincount().clamp(min=1)[:, None]
