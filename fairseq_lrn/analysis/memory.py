"""How much an encoder layer keeps of each subword of a sentence, by the paper's unfolded form."""

import copy
from typing import Any, List, NamedTuple

import torch
from torch import Tensor

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import Translator
from fairseq_lrn.modules.cells import LRNCell
from fairseq_lrn.modules.recurrence import RecurrentLayer

END = "</s>"
BLOCK = 1 << 25  # numbers in a tensor T x T x hidden units, for as many units as fit


class Memory(NamedTuple):
    """How much of each of T subwords the states of a layer hold, as means over the hidden units.

    Attributes:
        subwords: the subwords of the sentence and the end of the sentence, T.
        weights: weight of subword k in the state after subword t, ``T x T``, indexed by t and k.
        long_term: product of the forget gates between k and t, ``T x T``, indexed by t and k.
        short_term: input gate of each subword, T.
    """

    subwords: List[str]
    weights: Tensor
    long_term: Tensor
    short_term: Tensor


def memory(translator: Translator, sentence: str, layer: int = 1, backward: bool = False) -> Memory:
    """How much an encoder layer keeps of each subword of a sentence.

    Source: the paper's unfolded form (see :mod:`fairseq_lrn.ops.lrn_scan.unfolded`).

    Args:
        translator: a translator; of an ensemble, the first model is analysed.
        sentence: raw text in the source language.
        layer: number of the encoder layer, from 1; layer 1 reads the embeddings.
        backward: analyse the recurrence that reads the sentence from its end.

    Raises:
        InputError: the model has no such recurrence, or the sentence has no words or is invalid.
    """
    recurrences = _lrn_layers(translator.models[0].encoder)
    if not recurrences:
        raise InputError("the encoder has no LRN layers: use a model with --cell lrn or olrn")
    if not 1 <= layer <= len(recurrences):
        raise InputError(
            f"the encoder has no LRN layer {layer}: choose one from 1 to {len(recurrences)}"
        )
    if backward and recurrences[layer - 1].num_directions == 1:
        raise InputError("the encoder has no backward recurrence: analyse the forward one")
    subwords = translator.raw.subwords(sentence)
    if not subwords:
        raise InputError("the sentence is empty: give a sentence with words")
    encoder = _sharing_copy(translator.models[0].encoder)
    recurrence = _lrn_layers(encoder)[layer - 1]
    x, h_0 = _inputs(recurrence, encoder, translator.encode(subwords)[None].to(translator.device))
    direction = int(backward)
    means = _unfolded_means(recurrence.cells[direction], x, h_0[direction], backward)
    return Memory([*subwords, END], *means)


@torch.no_grad()
def _unfolded_means(cell: Any, x: Tensor, state: Tensor, reverse: bool) -> List[Tensor]:
    """Weights and forget chains, ``T x T``, and input gates, ``T``, as means over hidden units.

    A block of units at a time needs less memory.

    Args:
        cell: an :class:`LRNCell`.
        x, state, reverse: see :meth:`LRNCell.unfold`, with a batch of one.
    """
    hidden = state.size(-1)
    step = max(1, BLOCK // len(x) ** 2)
    sums: List[Any] = [0.0, 0.0, 0.0]
    for first in range(0, hidden, step):
        unfolded = cell.unfold(x, state, reverse, (first, min(first + step, hidden)))
        tensors = unfolded.weights, unfolded.forget_chains, unfolded.input_gates
        # T x T x B x H or T x B x H to T x T or T
        sums = [total + one.float().sum((-2, -1)) for total, one in zip(sums, tensors)]
    return [(total / hidden).cpu() for total in sums]


def _lrn_layers(encoder: torch.nn.Module) -> List[RecurrentLayer]:
    return [
        module
        for module in encoder.modules()
        if isinstance(module, RecurrentLayer) and isinstance(module.cells[0], LRNCell)
    ]


def _sharing_copy(encoder: torch.nn.Module) -> Any:
    """A copy with the same parameters. A hook in it does not see what other threads translate."""
    shared = [*encoder.parameters(), *encoder.buffers(), encoder.dictionary]
    return copy.deepcopy(encoder, {id(value): value for value in shared})


@torch.no_grad()
def _inputs(recurrence: RecurrentLayer, encoder: torch.nn.Module, tokens: Tensor) -> Any:
    """The input and the initial states of a layer when the encoder reads *tokens*, ``1 x T``."""
    inputs: List[Any] = []
    recurrence.register_forward_pre_hook(lambda _, args: inputs.append(args))
    encoder(tokens, torch.tensor([tokens.size(1)], device=tokens.device))
    return inputs[0][:2]
