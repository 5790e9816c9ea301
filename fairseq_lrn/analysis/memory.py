"""What a layer of the encoder keeps of each subword of a sentence: the paper's unfolded form."""

from typing import Any, List, NamedTuple

import torch
from torch import Tensor

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import Translator
from fairseq_lrn.modules.cells import LRNCell
from fairseq_lrn.modules.recurrence import RecurrentLayer

END = "</s>"


class Memory(NamedTuple):
    """How much of each piece of a sentence the states of a layer hold, means over the H units.

    Attributes:
        pieces: of the sentence, T.
        weights: of piece k in the state after piece t, ``T x T`` by t and k.
        long_term: what the forget gates between k and t leave of it, ``T x T``.
        short_term: how much of it the input gate let in, T.
    """

    pieces: List[str]
    weights: Tensor
    long_term: Tensor
    short_term: Tensor


def memory(translator: Translator, sentence: str, layer: int = 1, backward: bool = False) -> Memory:
    """What a layer of the encoder keeps of a sentence: the paper's unfolded form.

    Args:
        translator: of which the first model is looked at.
        sentence: raw text of the source language.
        layer: from 1, the one that reads the embeddings.
        backward: the recurrence from the end to the beginning.

    Raises:
        InputError: the model has no such recurrence, or the sentence no words.
    """
    encoder = translator.models[0].encoder
    recurrences = [
        module
        for module in encoder.modules()
        if isinstance(module, RecurrentLayer) and isinstance(module.cells[0], LRNCell)
    ]
    if not 1 <= layer <= len(recurrences):
        raise InputError(
            f"the encoder has {len(recurrences)} layers of LRN, so there is no layer {layer}"
        )
    recurrence = recurrences[layer - 1]
    if backward and recurrence.num_directions == 1:
        raise InputError("the encoder runs in one direction only")
    pieces = translator.raw.pieces(sentence)
    if not pieces:
        raise InputError("the sentence is empty: give one with words")
    read: List[Any] = []
    handle = recurrence.register_forward_pre_hook(lambda _, inputs: read.append(inputs))
    try:
        with torch.no_grad():
            tokens = translator.encode(pieces)[None].to(translator.device)
            encoder(tokens, torch.tensor([tokens.size(1)], device=translator.device))
    finally:
        handle.remove()
    x, h_0 = read[0][:2]
    with torch.no_grad():
        unfolded = recurrence.cells[int(backward)].unfold(  # type: ignore[operator]
            x, h_0[int(backward)], backward
        )
    weights, long_term, short_term = (
        each.float().mean((-2, -1)).cpu()
        for each in (unfolded.weights, unfolded.forget_chains, unfolded.input_gates)
    )
    return Memory([*pieces, END], weights, long_term, short_term)
