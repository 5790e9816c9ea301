"""What a beam search and a decoder exchange."""

from dataclasses import dataclass
from typing import Dict, List, Optional, Protocol

from torch import Tensor

from fairseq_lrn.ops import DecoderStep


@dataclass
class SearchState:
    """A decoder's state for W hypotheses of each of B sentences.

    The hypotheses of a sentence share its memory, and only their recurrent states are ever copied.
    Hypothesis w of sentence b has the row w * B + b.

    Attributes:
        recurrent: states of the layers, ``W*B x state_size`` each.
        memory: tensors that are computed once per sentence, ``S x B x ...`` each.
        padding_mask: source padding, ``B x S``; None if no sentence is padded.
        fused_step: the layers' step in one call of C++; None if it cannot compute these layers.
    """

    recurrent: List[Tensor]
    memory: List[Tensor]
    padding_mask: Optional[Tensor]
    fused_step: Optional[DecoderStep] = None

    def select(self, rows: Tensor, sentences: Optional[Tensor] = None) -> None:
        """Keep only some hypotheses.

        Args:
            rows: rows of the hypotheses to keep, in their new order.
            sentences: indices of the sentences that have hypotheses left; None: all sentences.
        """
        self.recurrent = [state.index_select(0, rows) for state in self.recurrent]
        if sentences is not None:
            self.memory = [memory.index_select(1, sentences) for memory in self.memory]
            if self.padding_mask is not None:
                self.padding_mask = self.padding_mask.index_select(0, sentences)


class SearchableDecoder(Protocol):
    """The methods of a decoder that :mod:`fairseq_lrn.generation.beam_search` can search with."""

    def start_search(self, encoder_out: Dict[str, List[Tensor]]) -> SearchState:
        """The state of one hypothesis per sentence, before its first token."""
        ...

    def search_step(self, tokens: Tensor, state: SearchState) -> Tensor:
        """Features ``W*B x C`` after the newest tokens ``W x B``; updates *state*."""
        ...

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x C``."""
        ...
