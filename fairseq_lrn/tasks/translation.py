"""Translation with the length penalty of the paper."""

import math
from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

LENGTH_PENALTIES = ("power", "gnmt")


@dataclass
class LRNTranslationConfig(TranslationConfig):
    """Options of ``--task translation_lrn``, beside those of fairseq's ``translation``."""

    length_penalty: ChoiceEnum(LENGTH_PENALTIES) = field(
        default="gnmt",
        metadata={
            "help": "the score of n tokens is divided by ((5 + n) / 6)^lenpen (gnmt), or by "
            "n^lenpen as elsewhere in fairseq (power)"
        },
    )


@register_task("translation_lrn", dataclass=LRNTranslationConfig)
class LRNTranslationTask(TranslationTask):
    """fairseq's ``translation``, and the length penalty that the paper's models are decoded with.

    Needed for generation only: ``fairseq-generate --task translation_lrn`` takes any model and
    data of ``translation``.
    """

    def build_generator(
        self,
        models,
        args,
        seq_gen_cls=None,
        extra_gen_cls_kwargs=None,
        prefix_allowed_tokens_fn=None,
    ):
        """fairseq's generator, with the length penalty asked for."""
        scores_references = getattr(args, "score_reference", False)
        if str(self.cfg.length_penalty) == "gnmt" and seq_gen_cls is None and not scores_references:
            seq_gen_cls = GNMTSequenceGenerator
            if getattr(args, "print_alignment", False):
                seq_gen_cls = GNMTSequenceGeneratorWithAlignment
                extra_gen_cls_kwargs = {
                    **(extra_gen_cls_kwargs or {}),
                    "print_alignment": args.print_alignment,
                }
        return super().build_generator(
            models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn
        )


class GNMTLengthPenalty:
    """Scores of a generator divided by ((5 + n) / 6)^len_penalty for n tokens, eos included.

    Source: Wu et al. (2016), "Google's Neural Machine Translation System", equation 14, without
    the coverage penalty; the authors' toolkit (bzhangGo/zero, ``search.py``).
    """

    def finalize_hypos(self, step: int, *args, **kwargs):
        """As fairseq's, which divides by n^len_penalty: the power that has the same effect."""
        alpha = self.len_penalty
        length = step + 1
        if length > 1:  # of one token both penalties are 1
            self.len_penalty = alpha * math.log((5 + length) / 6) / math.log(length)
        try:
            return super().finalize_hypos(step, *args, **kwargs)
        finally:
            self.len_penalty = alpha


class GNMTSequenceGenerator(GNMTLengthPenalty, SequenceGenerator):
    """fairseq's beam search with the length penalty of GNMT."""


class GNMTSequenceGeneratorWithAlignment(GNMTLengthPenalty, SequenceGeneratorWithAlignment):
    """The same for ``--print-alignment``."""
