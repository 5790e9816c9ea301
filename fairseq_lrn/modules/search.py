"""The interface between beam search and a decoder."""

from dataclasses import dataclass
from typing import Dict, List, Optional, Protocol

from torch import Tensor

from fairseq_lrn.ops import BeamSearch, DecoderStep


@dataclass
class SearchState:
    """The state of a decoder for W hypotheses of each of B sentences.

    The hypotheses of a sentence share its memory. Only their recurrent states are copied during
    the search. Hypothesis w of sentence b is row w * B + b.

    Attributes:
        recurrent: recurrent state of each layer, ``W*B x state_size``.
        memory: tensors that are computed once per sentence, ``S x B x ...`` each.
        padding_mask: source padding, ``B x S``; None if no sentence is padded.
        is_start: whether no token has been read; kept up to date by ``lrn_rnmt`` only.
        fused_step: one step of all layers in a single C++ call; None if the layers take the step
            one by one.
        fused_search: the whole search in a single C++ call; None if Python takes the steps.
    """

    recurrent: List[Tensor]
    memory: List[Tensor]
    padding_mask: Optional[Tensor]
    is_start: bool = True
    fused_step: Optional[DecoderStep] = None
    fused_search: Optional[BeamSearch] = None

    def select(self, rows: Tensor, sentences: Optional[Tensor] = None) -> None:
        """Keep only the hypotheses *rows*, in their given order. A row may occur repeatedly.

        Args:
            rows: row indices of the hypotheses to keep, ``W'*B'`` with the new W' and B'.
            sentences: indices of the sentences to keep, ``B'``; None: all sentences.
        """
        self.recurrent = [state.index_select(0, rows) for state in self.recurrent]
        if sentences is not None:
            self.memory = [memory.index_select(1, sentences) for memory in self.memory]
            if self.padding_mask is not None:
                self.padding_mask = self.padding_mask.index_select(0, sentences)


class SearchableDecoder(Protocol):
    """The methods of a decoder that :mod:`fairseq_lrn.generation.beam_search` calls."""

    def start_search(self, encoder_out: Dict[str, List[Tensor]]) -> SearchState:
        """The state of one hypothesis per sentence, before its first token.

        Args:
            encoder_out: the result of the encoder.
        """
        ...

    def search_step(self, tokens: Tensor, state: SearchState) -> Tensor:
        """Advance every hypothesis by one token.

        Args:
            tokens: newest token of every hypothesis, ``W x B``.
            state: the state before these tokens; the call updates it.

        Returns:
            features ``W*B x C``.
        """
        ...

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x C``."""
        ...
