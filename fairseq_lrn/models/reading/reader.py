"""Reader ``lrn_reader``: finds the answer to a question in a text, with the layers of R-Net."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor, nn

from fairseq_lrn.models.config_checks import check_choices, check_counts, warn_of_no_effect
from fairseq_lrn.models.defaults import CELLS_WITH_RECURRENT_BIAS
from fairseq_lrn.models.labelled import LabelledModel
from fairseq_lrn.models.pair_input import PairInput, PairInputConfig
from fairseq_lrn.models.word_input import (
    CHARACTER_ENCODERS,
    character_encoder_field,
    plain_layers,
)
from fairseq_lrn.modules.answer_pointer import AnswerPointer
from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.modules.gated_attention import GatedAttention
from fairseq_lrn.modules.plain_layer import PlainLayer
from fairseq_lrn.modules.pooling import AttentivePooling

SAME_CELL = "same"


@dataclass
class LRNReaderConfig(PairInputConfig):
    """Options of the model ``lrn_reader``."""

    character_encoder: ChoiceEnum(CHARACTER_ENCODERS) = character_encoder_field("rnn")
    layers: int = field(
        default=3, metadata={"help": "number of bidirectional layers that read both texts"}
    )
    attention_size: int = field(
        default=75, metadata={"help": "width of the hidden layers of attention and pointer"}
    )
    character_cell: ChoiceEnum((SAME_CELL, *CELLS)) = field(
        default=SAME_CELL,
        metadata={"help": "cell of the recurrence over characters; same: that of --cell"},
    )
    pointer_cell: ChoiceEnum((SAME_CELL, *CELLS)) = field(
        default=SAME_CELL, metadata={"help": "cell of the pointer; same: that of --cell"}
    )
    all_layers: bool = field(
        default=False,
        metadata={
            "help": "the attention between the texts reads the outputs of all layers side by side, "
            "as in the paper, instead of the last layer's"
        },
    )

    residual_layers: bool = field(
        default=False,
        metadata={
            "help": "add to the output of each recurrent layer after the first that of the layer "
            "before it"
        },
    )

    def check(self) -> None:
        """See :meth:`WordInputConfig.check`."""
        super().check()
        check_counts(self, "attention_size")
        check_choices(self, character_cell=(SAME_CELL, *CELLS), pointer_cell=(SAME_CELL, *CELLS))
        if str(self.character_encoder) != "rnn":
            warn_of_no_effect(self, "without --character-encoder rnn", "character_cell")
        if self.layers == 1:
            warn_of_no_effect(self, "with --layers 1", "all_layers")

    def character_options(self) -> Dict[str, Any]:
        """See :meth:`WordInputConfig.character_options`."""
        return self._options_of(str(self.character_cell))

    def pointer_options(self) -> Dict[str, Any]:
        """The arguments of the pointer's cell."""
        return self._options_of(str(self.pointer_cell))

    def _options_of(self, cell: str) -> Dict[str, Any]:
        options = self.recurrence_options()
        if cell == SAME_CELL:
            return options
        # One bias for each gate, as in the authors' code, whose other layers have two.
        bias = options["bias"] and cell not in CELLS_WITH_RECURRENT_BIAS
        return {**options, "cell": cell, "bias": bias}


@register_model("lrn_reader", dataclass=LRNReaderConfig)
class LRNReader(LabelledModel):
    """Reader of a text that has the answer to a question (``--arch lrn_reader``).

    The layers are those of R-Net: the same recurrent layers read both texts, the context attends to
    the question and then to itself, each time through a gate and followed by a recurrent layer, and
    a pointer whose first state is a summary of the question scores the words of the context.

    It runs with ``--task span_prediction``.

    Args:
        cfg: options.
        dictionary: dictionary of the words of both texts.
        characters: dictionary of the characters, or None.

    Source: Zhang and Sennrich (2019), reading comprehension; Wang et al. (2017).
    """

    CONFIG = LRNReaderConfig

    def __init__(self, cfg: LRNReaderConfig, dictionary: Any, characters: Optional[Any]):
        super().__init__()
        self.padding_idx = dictionary.pad()
        self.input = PairInput(cfg, dictionary, characters)
        self.reads_characters = self.input.reads_characters
        dropout = {"dropout": cfg.dropout, "locked_dropout": cfg.locked_dropout}
        options = {**cfg.recurrence_options(), **dropout, "bidirectional": True}
        both = 2 * cfg.hidden_size
        self.residual_layers = cfg.residual_layers
        self.layers = nn.ModuleList(plain_layers(cfg, self.input.width, cfg.layers))
        self.num_read = cfg.layers if cfg.all_layers else 1
        encoded = self.num_read * both
        size = cfg.attention_size
        self.question_attention = GatedAttention(encoded, encoded, size, **dropout)
        self.question_layer = PlainLayer(self.question_attention.width, cfg.hidden_size, **options)
        self.self_attention = GatedAttention(both, both, size, **dropout)
        self.self_layer = PlainLayer(self.self_attention.width, cfg.hidden_size, **options)
        self.summary = AttentivePooling(both, size, drops_values=False, **dropout)
        self.pointer = AnswerPointer(both, both, size, **dropout, **cfg.pointer_options())

    def forward(
        self,
        src_tokens: Tensor,
        other_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        other_lengths: Optional[Tensor] = None,
        src_characters: Optional[Tensor] = None,
        other_characters: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """
        Args:
            src_tokens, other_tokens: words of the question ``B x S`` and of the context ``B x T``;
                padding may be on either side.
            src_lengths, other_lengths: not used; part of fairseq's interface.
            src_characters, other_characters: characters of each word, ``B x S x L`` and
                ``B x T x L``.

        Returns:
            scores of the first and of the last word of the answer, ``B x T`` each, in float32;
            ``-1e9`` at padding.
        """
        words = self.input(src_tokens, other_tokens, src_characters, other_characters)
        q, q_padding = self._encode(words[0], src_tokens)
        c, c_padding = self._encode(words[1], other_tokens)
        read = (torch.cat(outputs[-self.num_read :], dim=-1) for outputs in (c, q))
        x = self.question_attention(*read, q_padding)
        x = self._run(self.question_layer, x, c_padding, c[-1])
        x = self._run(self.self_layer, self.self_attention(x, x, c_padding), c_padding, x)
        summary, _ = self.summary(q[-1], q_padding)
        return self.pointer(x, c_padding, summary)

    def _encode(self, x: Tensor, tokens: Tensor) -> Tuple[List[Tensor], Tensor]:
        """The outputs ``T x B x 2H`` of all layers for the words *x*, and the padding ``T x B``."""
        padding = tokens.t().eq(self.padding_idx)  # B x T to T x B
        outputs: List[Tensor] = []
        for layer in self.layers:
            x = self._run(layer, x, padding, outputs[-1] if outputs else None)
            outputs.append(x)
        return outputs, padding

    def _run(
        self, layer: PlainLayer, x: Tensor, padding: Tensor, before: Optional[Tensor]
    ) -> Tensor:
        """The output of a layer whose first state is zeros, given that of the layer before it."""
        output = layer(x, layer.initial_state(x), padding)[0]
        return output if before is None or not self.residual_layers else output + before
