"""Translation with a faster beam search and the length penalty of the paper."""

import logging
from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.generation.length_penalty import (
    GNMTSequenceGenerator,
    GNMTSequenceGeneratorWithAlignment,
)
from fairseq_lrn.modules.precision import MATMUL_DTYPES, set_matmul_dtype

logger = logging.getLogger(__name__)

LENGTH_PENALTIES = ("power", "gnmt")


@dataclass
class LRNTranslationConfig(TranslationConfig):
    """Options of ``--task translation_lrn``, in addition to those of fairseq's ``translation``."""

    length_penalty: ChoiceEnum(LENGTH_PENALTIES) = field(
        default="power",
        metadata={
            "help": "divide the score of n tokens by n^lenpen, as elsewhere in fairseq (power), "
            "or by ((5 + n) / 6)^lenpen (gnmt)"
        },
    )
    generation_dtype: ChoiceEnum(MATMUL_DTYPES) = field(
        default="float32",
        metadata={
            "help": "data type of matrix products in generation, for models of fairseq_lrn on a "
            "CPU that supports it; bfloat16 and int8 round, so some translations differ"
        },
    )


@register_task("translation_lrn", dataclass=LRNTranslationConfig)
class LRNTranslationTask(TranslationTask):
    """fairseq's ``translation`` with a faster beam search and the length penalty of the paper.

    The task is needed for generation only: ``fairseq-generate --task translation_lrn`` accepts any
    model and data of ``translation``. Only the models of this package are searched faster.
    """

    dtype_unavailable_reason = ""  # the last reason that was logged

    @classmethod
    def setup_task(cls, cfg, dictionaries=None, **kwargs):
        """The task for some data.

        Args:
            cfg: options of the task.
            dictionaries: source and target dictionary; by default, they are loaded from the data.
            kwargs: further arguments of fairseq.
        """
        if dictionaries is not None:
            return cls(cfg, *dictionaries)
        return super().setup_task(cfg, **kwargs)

    def build_generator(
        self,
        models,
        args,
        seq_gen_cls=None,
        extra_gen_cls_kwargs=None,
        prefix_allowed_tokens_fn=None,
    ):
        """A generator with the requested length penalty and data type of matrix products.

        The arguments are documented in fairseq.

        Raises:
            InputError: a weight is not finite, so it cannot be quantised to 8 bits.
        """
        # A model that is being trained keeps float32 for the translations of --eval-bleu.
        trained_models = [model for model in models if not model.training]
        name = str(self.cfg.generation_dtype)
        try:
            reason = set_matmul_dtype(trained_models, name)
        except ValueError as error:
            raise InputError(str(error)) from error
        if reason and reason != self.dtype_unavailable_reason:
            logger.warning("--generation-dtype %s has no effect: %s", name, reason)
            self.dtype_unavailable_reason = reason
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
