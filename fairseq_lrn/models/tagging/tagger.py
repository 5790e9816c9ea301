"""Tagger ``lrn_tagger``: words and characters, a bidirectional recurrence, and a CRF."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor, nn

from fairseq_lrn.models.config_checks import check_widths
from fairseq_lrn.models.labelled import LabelledModel
from fairseq_lrn.models.word_input import (
    CHARACTER_ENCODERS,
    TextLayers,
    WordInput,
    WordInputConfig,
    character_encoder_field,
)
from fairseq_lrn.modules.crf import LinearChainCRF
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.layers import xavier_linear
from fairseq_lrn.modules.linear import Linear


@dataclass
class LRNTaggerConfig(WordInputConfig):
    """Options of the model ``lrn_tagger``."""

    character_encoder: ChoiceEnum(CHARACTER_ENCODERS) = character_encoder_field("rnn")
    tag_hidden_size: int = field(
        default=0,
        metadata={"help": "width of a tanh layer below the scores of the tags; 0: no layer"},
    )

    def check(self) -> None:
        """See :meth:`WordInputConfig.check`."""
        super().check()
        check_widths(self, "tag_hidden_size")


@register_model("lrn_tagger", dataclass=LRNTaggerConfig)
class LRNTagger(LabelledModel):
    """Tagger of words (``--arch lrn_tagger``), for ``--task sequence_tagging``.

    Args:
        cfg: options.
        dictionary: dictionary of the words.
        characters: dictionary of the characters, or None.
        num_tags: number of tags K.
        allowed: what may follow what, see :class:`~fairseq_lrn.modules.crf.LinearChainCRF`.

    Source: Zhang and Sennrich (2019), named entity recognition; Lample et al. (2016).
    """

    CONFIG = LRNTaggerConfig

    def __init__(
        self,
        cfg: LRNTaggerConfig,
        dictionary: Any,
        characters: Optional[Any],
        num_tags: int,
        allowed: Optional[Tuple[Tensor, Tensor, Tensor]] = None,
    ):
        super().__init__()
        self.padding_idx = dictionary.pad()
        self.input = WordInput(cfg, dictionary, characters)
        self.reads_characters = self.input.reads_characters
        self.layers = TextLayers(cfg, self.input.width)
        self.dropout = Dropout(cfg.dropout, cfg.locked_dropout, self.__class__.__name__)
        width = self.layers.width
        self.hidden: Optional[Linear] = None
        if cfg.tag_hidden_size > 0:
            self.hidden = xavier_linear(width, cfg.tag_hidden_size)
            width = cfg.tag_hidden_size
        self.scores = xavier_linear(width, num_tags)
        self.crf = LinearChainCRF(num_tags, allowed)

    @classmethod
    def task_arguments(cls, task: Any) -> Tuple[Any, ...]:
        """See :class:`~fairseq_lrn.models.labelled.LabelledModel`."""
        tags = getattr(task, "tags", None)
        if tags is None:
            raise ValueError("lrn_tagger needs --task sequence_tagging")
        return len(tags), tuple(torch.tensor(part) for part in task.allowed_transitions())

    def label_maps(self) -> Dict[str, nn.Module]:
        """See :class:`~fairseq_lrn.models.labelled.LabelledModel`."""
        return {"scores": self.scores}

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        src_characters: Optional[Tensor] = None,
        target: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """
        Args:
            src_tokens: words, ``B x T``; padding may be on either side.
            src_lengths: not used; part of fairseq's interface.
            src_characters: characters of each word, ``B x T x L``.
            target: the right tags, ``B x T``; any tag at padding.

        Returns:
            scores of the tags ``T x B x K``, and a dictionary with ``padding_mask``, ``T x B``, and
            with *target* ``nll``, the negative log-likelihood of each text in nats, ``B``.
        """
        x = self.input(src_tokens, src_characters)
        padding = src_tokens.t().eq(self.padding_idx)  # B x T to T x B
        x = self.dropout(self.layers(x, padding)[0])
        if self.hidden is not None:
            x = torch.tanh(self.hidden(x))
        scores = self.scores(x)
        extra: Dict[str, Any] = {"padding_mask": padding}
        if target is not None:
            extra["nll"] = self.crf(scores, target.t(), padding)  # B x T to T x B
        return scores, extra

    def decode(self, scores: Tensor, padding_mask: Optional[Tensor]) -> Tensor:
        """The most probable tags ``B x T``, from the results of :meth:`forward`."""
        return self.crf.decode(scores, padding_mask).t()  # T x B to B x T
