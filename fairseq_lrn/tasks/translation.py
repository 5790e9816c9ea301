"""Translation with our beam search, and with the length penalty of the paper."""

import logging
import math
from dataclasses import dataclass, field

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.sequence_generator import SequenceGeneratorWithAlignment
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.linear import Packable, can_pack
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator

logger = logging.getLogger(__name__)

LENGTH_PENALTIES = ("power", "gnmt")
DTYPES = ("float32", "bfloat16", "int8")
NEEDED = {
    "bfloat16": "the processor, or this version of torch, has no products of bfloat16",
    "int8": "it needs a processor with Intel AMX, and the C++ kernels (python -m fairseq_lrn.ops)",
}


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
            "help": "bfloat16 or int8: our models generate with matrix products of it, on a CPU "
            "that has them; rounded, so that some translations differ"
        },
    )


@register_task("translation_lrn", dataclass=LRNTranslationConfig)
class LRNTranslationTask(TranslationTask):
    """fairseq's ``translation``, with a beam search that takes less time with our models.

    And with the length penalty that the paper's models are decoded with. Needed for generation
    only: ``fairseq-generate --task translation_lrn`` takes any model and data of
    ``translation``.
    """

    unused_reason = ""  # of --generation-dtype; it is said once

    def build_generator(
        self,
        models,
        args,
        seq_gen_cls=None,
        extra_gen_cls_kwargs=None,
        prefix_allowed_tokens_fn=None,
    ):
        """A generator with the length penalty and the type of products asked for."""
        # A model in training changes; its translations for --eval-bleu are in float32.
        in_use = [model for model in models if not model.training]
        name = str(self.cfg.generation_dtype)
        reason = multiply_in(name, in_use)
        if reason and reason != self.unused_reason:
            logger.warning("--generation-dtype %s has no effect: %s", name, reason)
            self.unused_reason = reason
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


def multiply_in(name: str, models) -> str:
    """Have the models' matrix products in a type; where that is not to be had, in their own.

    Of several generators that share a model, the one that was made last decides.

    Args:
        name: one of :data:`DTYPES`.
        models: modules; those of ours have :class:`~fairseq_lrn.modules.linear.Packable` parts.

    Returns:
        why that is not to be had, or an empty string.

    Raises:
        InputError: a weight that is to be in 8 bits is not finite.
    """
    dtype, reason = getattr(torch, name), ""
    weights = [
        module for model in models for module in model.modules() if isinstance(module, Packable)
    ]
    if name != "float32":
        if models and not weights:
            reason = "it is for models of fairseq_lrn"
        elif any(module.weight.device.type != "cpu" for module in weights):
            reason = "it is for a CPU (on a GPU fairseq-generate has --fp16)"
        elif name == "int8" and any(module.weight.dtype != torch.float32 for module in weights):
            reason = "it is for weights of float32"
        elif not can_pack(dtype):
            reason = NEEDED[name]
    if name == "float32" or reason:
        # What another generator has had packed in fewer bits.
        dtype, weights = None, [one for one in weights if getattr(one, "_packed", None) is not None]
    with torch.no_grad():
        for module in weights:
            if not module.is_packed_in(dtype):
                try:
                    module.pack(dtype)
                except ValueError as error:
                    raise InputError(str(error)) from error
    return reason


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
