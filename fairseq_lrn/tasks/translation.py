"""Translation with our beam search, and with the length penalty of the paper."""

import logging
import math
from dataclasses import dataclass, field

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.sequence_generator import SequenceGeneratorWithAlignment
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_lrn.modules.linear import Packable, can_pack
from fairseq_lrn.tasks.beam_search import RecurrentSequenceGenerator

logger = logging.getLogger(__name__)

LENGTH_PENALTIES = ("power", "gnmt")
DTYPES = ("float32", "bfloat16")


@dataclass
class LRNTranslationConfig(TranslationConfig):
    """Options of ``--task translation_lrn``, beside those of fairseq's ``translation``."""

    length_penalty: ChoiceEnum(LENGTH_PENALTIES) = field(
        default="power",
        metadata={
            "help": "the score of n tokens is divided by n^lenpen as elsewhere in fairseq (power), "
            "or by ((5 + n) / 6)^lenpen (gnmt)"
        },
    )
    generation_dtype: ChoiceEnum(DTYPES) = field(
        default="float32",
        metadata={
            "help": "bfloat16: our models generate with matrix products of it, on a CPU; rounded, "
            "so that a few translations differ"
        },
    )


@register_task("translation_lrn", dataclass=LRNTranslationConfig)
class LRNTranslationTask(TranslationTask):
    """fairseq's ``translation``, with a beam search that takes less time with our models.

    And with the length penalty that the paper's models are decoded with. Needed for generation
    only: ``fairseq-generate --task translation_lrn`` takes any model and data of
    ``translation``.
    """

    def build_generator(
        self,
        models,
        args,
        seq_gen_cls=None,
        extra_gen_cls_kwargs=None,
        prefix_allowed_tokens_fn=None,
    ):
        """A generator with the length penalty and the type of products asked for."""
        if str(self.cfg.generation_dtype) == "bfloat16":
            # A model in training changes; its translations for --eval-bleu are in float32.
            multiply_in_bfloat16([model for model in models if not model.training])
        if seq_gen_cls is None and not getattr(args, "score_reference", False):
            is_gnmt = str(self.cfg.length_penalty) == "gnmt"
            if not getattr(args, "print_alignment", False):
                seq_gen_cls = GNMTSequenceGenerator if is_gnmt else RecurrentSequenceGenerator
            elif is_gnmt:
                seq_gen_cls = GNMTSequenceGeneratorWithAlignment
                extra_gen_cls_kwargs = {
                    **(extra_gen_cls_kwargs or {}),
                    "print_alignment": args.print_alignment,
                }
        return super().build_generator(
            models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn
        )


def multiply_in_bfloat16(models) -> None:
    """Have the models' matrix products in bfloat16, or warn that they cannot have them.

    Args:
        models: modules; those of ours have :class:`~fairseq_lrn.modules.linear.Packable` parts.
    """
    weights = [
        module for model in models for module in model.modules() if isinstance(module, Packable)
    ]
    if not can_pack(torch.bfloat16):
        logger.warning("--generation-dtype bfloat16: not on this processor; in float32")
    elif any(module.weight.device.type != "cpu" for module in weights):
        logger.warning("--generation-dtype bfloat16: on a CPU only; on a GPU use --fp16")
    elif models and not weights:
        logger.warning("--generation-dtype bfloat16: for models of fairseq_lrn only; in float32")
    else:
        with torch.no_grad():
            for module in weights:
                if module.product_dtype("cpu") != torch.bfloat16:
                    module.pack(torch.bfloat16)


class GNMTLengthPenalty:
    """Scores of a generator divided by ((5 + n) / 6)^len_penalty for n tokens, eos included.

    Source: Wu et al. (2016), "Google's Neural Machine Translation System", equation 14, without
    the coverage penalty; the authors' toolkit (bzhangGo/zero, ``search.py``).
    """

    def penalty(self, length: int) -> float:
        """What the score of so many tokens is divided by."""
        return ((5 + length) / 6) ** self.len_penalty

    def finalize_hypos(self, step: int, *args, **kwargs):
        """As fairseq's, which divides by n^len_penalty: the power that has the same effect."""
        alpha = self.len_penalty
        length = step + 1
        if length > 1:  # of one token both penalties are 1
            self.len_penalty = math.log(self.penalty(length)) / math.log(length)
        try:
            return super().finalize_hypos(step, *args, **kwargs)
        finally:
            self.len_penalty = alpha


class GNMTSequenceGenerator(GNMTLengthPenalty, RecurrentSequenceGenerator):
    """Beam search with the length penalty of GNMT."""

    def normaliser(self, length: int) -> float:
        """See :class:`RecurrentSequenceGenerator`."""
        return self.penalty(length) if self.normalize_scores else 1.0


class GNMTSequenceGeneratorWithAlignment(GNMTLengthPenalty, SequenceGeneratorWithAlignment):
    """The same for ``--print-alignment``."""
