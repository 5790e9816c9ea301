"""Translation with a faster beam search, the paper's length penalty, and BLEU of raw text."""

import json
import logging
import os
import tempfile
from dataclasses import dataclass, field
from typing import Dict, Optional

from fairseq import checkpoint_utils, utils
from fairseq.data import Dictionary
from fairseq.data.data_utils import post_process
from fairseq.dataclass import ChoiceEnum
from fairseq.dataclass.configs import GenerationConfig
from fairseq.models import FairseqEncoderDecoderModel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from torch import nn

from fairseq_lrn import checkpoints
from fairseq_lrn.data import text_files
from fairseq_lrn.data.languages import bleu_tokenizer
from fairseq_lrn.data.raw_text import RawText
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.generation.length_penalty import (
    GNMTSequenceGenerator,
    GNMTSequenceGeneratorWithAlignment,
)
from fairseq_lrn.modules.precision import MATMUL_DTYPES, set_matmul_dtype
from fairseq_lrn.tasks.architectures import check_architecture

logger = logging.getLogger(__name__)

LENGTH_PENALTIES = ("power", "gnmt")
EXAMPLES = 3  # sentences of the validation set whose translations are logged


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
    # Greedy search, so that validation stays short; a model that does not end yet is stopped.
    eval_bleu_args: Optional[str] = field(
        default='{"beam": 1, "max_len_a": 1.2, "max_len_b": 10}',
        metadata={"help": "options of the search of --eval-bleu, as JSON"},
    )


# fairseq's own tasks of language models, and this package's.
LANGUAGE_MODEL_TASKS = (
    "language_modeling",
    "stateful_language_modeling",
    "multilingual_language_modeling",
)


@register_task("translation_lrn", dataclass=LRNTranslationConfig)
class LRNTranslationTask(TranslationTask):
    """fairseq's ``translation`` with a faster beam search and the length penalty of the paper.

    ``fairseq-generate --task translation_lrn`` accepts any model and data of ``translation``. Only
    the models of this package are searched faster.

    In training, ``--eval-bleu`` computes BLEU of raw text, for data of ``fairseq-lrn prepare``: the
    task restores it from subwords, and logs the translations of the first sentences of the
    validation set. For other data, or with ``--eval-bleu-remove-bpe``, ``--eval-bleu-detok`` or
    ``--eval-tokenized-bleu``, fairseq computes it.
    """

    dtype_unavailable_reason = ""  # the last reason that was logged
    _raw: Optional[RawText] = None
    _bleu_tokenizer = ""  # of sacreBLEU

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self._language_models: Dict[str, nn.Module] = {}  # by path

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

    def state_dict(self):
        """What fairseq keeps in checkpoints: the languages, too."""
        return {**super().state_dict(), "languages": [self.cfg.source_lang, self.cfg.target_lang]}

    def load_state_dict(self, state_dict):
        """Called by fairseq with the state in a checkpoint that is loaded, but not resumed.

        A warning says if the data are of other languages. Dictionaries cannot show it, because two
        languages can share one.
        """
        trained = state_dict.get("languages")
        here = [self.cfg.source_lang, self.cfg.target_lang]
        if trained is not None and trained != here and None not in (*trained, *here):
            logger.warning(
                "the model was trained to translate from %s to %s, and the data are for %s to %s: "
                "give other data, or --source-lang %s --target-lang %s",
                *(*trained, *here, *trained),
            )
        super().load_state_dict(
            {name: value for name, value in state_dict.items() if name != "languages"}
        )

    def build_model(self, cfg, from_checkpoint=False):
        """As in fairseq. In training, what ``--eval-bleu`` needs is read before the data.

        Raises:
            InputError: the model does not translate; files that raw text needs are damaged or
                missing; or ``--eval-bleu-args`` has no options of a search.
        """
        check_architecture(cfg, FairseqEncoderDecoderModel, "translation_lrn", "lrn")
        if self.cfg.eval_bleu and not from_checkpoint:
            _check_search_options(str(self.cfg.eval_bleu_args))
            self._raw_text()
        return super().build_model(cfg, from_checkpoint)

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
            InputError: a weight is not finite, so it cannot be quantised to 8 bits; or the language
                model of ``--lm-path`` has another dictionary.
        """
        extra_gen_cls_kwargs = dict(extra_gen_cls_kwargs or {})
        path = getattr(args, "lm_path", None)
        if path and getattr(args, "lm_weight", 0.0) == 0.0:  # fairseq's default
            logger.warning(
                "--lm-path has no effect with --lm-weight 0, the default: give both or none"
            )
            path = None
            extra_gen_cls_kwargs.pop("lm_model", None)  # it would only slow the search
        if path and path not in self._language_models:
            self._check_language_model(path)
        if path and "lm_model" not in extra_gen_cls_kwargs:  # only fairseq-generate loads it
            extra_gen_cls_kwargs["lm_model"] = self._language_model(path, models[0])
            extra_gen_cls_kwargs["lm_weight"] = args.lm_weight
        # A model that is being trained keeps float32 for the translations of --eval-bleu.
        finished = [model for model in models if not model.training]
        name = str(self.cfg.generation_dtype)
        try:
            reason = set_matmul_dtype(finished, name)
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
                extra_gen_cls_kwargs["print_alignment"] = args.print_alignment
        return super().build_generator(
            models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn
        )

    def _language_model(self, path: str, model: nn.Module) -> nn.Module:
        """The language model of ``--lm-path``, on the device of *model*.

        Raises:
            InputError: it cannot be read, or it is no language model.
        """
        if path not in self._language_models:
            state = checkpoints.load(path)  # raises clearer errors than fairseq
            name = checkpoints.task_name(state)
            if name not in (None, *LANGUAGE_MODEL_TASKS):
                raise InputError(
                    f"--lm-path {path} was trained with --task {name}: give a language model, "
                    f"which was trained with --task {' or '.join(LANGUAGE_MODEL_TASKS)}"
                )
            with tempfile.TemporaryDirectory() as directory:
                self.tgt_dict.save(os.path.join(directory, "dict.txt"))
                (found,), _ = checkpoint_utils.load_model_ensemble(
                    [path], arg_overrides={"data": directory}
                )
            self._language_models[path] = found.eval()
        return self._language_models[path].to(next(model.parameters()).device)

    def _check_language_model(self, path: str) -> None:
        """Refuse a language model beside whose checkpoint there is another dictionary.

        Raises:
            InputError: the dictionary is not the target dictionary.
        """
        beside = os.path.join(os.path.dirname(path), "dict.txt")  # of prepare-lm's data
        if os.path.isfile(beside) and Dictionary.load(beside) != self.tgt_dict:
            raise InputError(
                f"the dictionary of the language model {path} is not the target dictionary: "
                "train it on data with the dictionary of the translation data"
            )

    def _inference_with_bleu(self, generator, sample, model):
        """BLEU of the translations of a batch; fairseq's ``valid_step`` adds up its counts."""
        generator.returns_attention = False  # it would need fairseq's search
        raw = self._raw_text()
        if raw is None:
            return super()._inference_with_bleu(generator, sample, model)
        import sacrebleu  # takes time to import

        found = self.inference_step(generator, [model], sample)
        # Unknown words must not count as equal.
        translations = [
            raw.text(self._symbols(self.tgt_dict, best["tokens"], "UNKNOWNTOKENINHYP"))
            for best, *_ in found
        ]
        references = [
            raw.text(self._symbols(self.tgt_dict, target, "UNKNOWNTOKENINREF"))
            for target in sample["target"]
        ]
        for row, number in enumerate(sample["id"].tolist()):
            if number < EXAMPLES or (self.cfg.eval_bleu_print_samples and row == 0):
                source = self._symbols(self.src_dict, sample["net_input"]["src_tokens"][row])
                words = post_process(source, "sentencepiece")
                logger.info("example %d, source:      %s", number + 1, words)
                logger.info("example %d, reference:   %s", number + 1, references[row])
                logger.info("example %d, translation: %s", number + 1, translations[row])
        return sacrebleu.corpus_bleu(translations, [references], tokenize=self._bleu_tokenizer)

    def _raw_text(self) -> Optional[RawText]:
        """How to restore raw text, or None if fairseq does it or the data do not say how."""
        cfg = self.cfg
        if cfg.eval_tokenized_bleu or cfg.eval_bleu_remove_bpe or cfg.eval_bleu_detok != "space":
            return None
        directory = utils.split_paths(cfg.data)[0]
        if self._raw is None and text_files.PARALLEL.files(directory):
            self._raw = RawText(directory, cfg.source_lang)
            self._bleu_tokenizer = bleu_tokenizer(self._raw.target_lang)
        return self._raw

    @staticmethod
    def _symbols(dictionary: Dictionary, tokens, unknown: Optional[str] = None) -> str:
        """The subwords of a sentence, separated by spaces, without padding and EOS."""
        tokens = utils.strip_pad(tokens.int().cpu(), dictionary.pad())
        return dictionary.string(tokens, unk_string=unknown)


def _check_search_options(text: str) -> None:
    """Refuse ``--eval-bleu-args`` that fairseq would fail on, or of which it would use nothing.

    Raises:
        InputError: *text* is no JSON object, or has names of no option.
    """
    example = """give a JSON object such as '{"beam": 5}'"""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InputError(f"--eval-bleu-args {text} is not JSON ({error}): {example}") from error
    if not isinstance(given, dict):
        raise InputError(f"--eval-bleu-args {text} is not an object: {example}")
    for name in given.keys() - GenerationConfig.__dataclass_fields__.keys():
        raise InputError(
            f"--eval-bleu-args has {name}, which is no option of fairseq-generate: {example}"
        )
    for name, value in given.items():
        kind = GenerationConfig.__dataclass_fields__[name].type
        kinds = {int: (int,), float: (int, float), bool: (bool,)}.get(kind)
        if kinds is not None and type(value) not in kinds:
            raise InputError(
                f"--eval-bleu-args has {name} = {json.dumps(value)}, but this option is of type "
                f"{kind.__name__}: {example}"
            )
