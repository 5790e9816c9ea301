"""Translating raw text: :func:`load_translator`."""

import contextlib
import itertools
import logging
import math
import os
import threading
from dataclasses import dataclass, field
from typing import (
    Any,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
    overload,
)

import torch
from fairseq import checkpoint_utils, tasks, utils
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.dataclass.configs import GenerationConfig
from fairseq.sequence_scorer import SequenceScorer
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_lrn import checkpoints
from fairseq_lrn.data import text_files
from fairseq_lrn.data.raw_text import RawText
from fairseq_lrn.data.words import split_words
from fairseq_lrn.errors import DataMismatch, InputError
from fairseq_lrn.generation.attention import merge, subword_attention
from fairseq_lrn.generation.inputs import (
    batches,
    count,
    items,
    lines_of,
    longest_pair,
    longest_source,
    longest_target,
)
from fairseq_lrn.generation.loading import (
    COMMANDS,
    PathLike,
    find_text_directory,
    usable_device,
)
from fairseq_lrn.generation.options import generation_settings
from fairseq_lrn.models.base import RecurrentEncoder, RecurrentModel
from fairseq_lrn.modules.precision import MATMUL_DTYPES

logger = logging.getLogger(__name__)

EMPTY_ATTENTION = torch.ones(1, 1, device="cpu")  # EOS to EOS, for a sentence without words
# fairseq's modules outside of this package keep buffers that grow with the input.
_turns = threading.RLock()

Segmented = Tuple[str, List[str]]  # raw text and its subwords


@dataclass
class Translation:
    """One translation of a sentence.

    Words are what is between spaces in the raw text. In a script without spaces, e.g. Chinese, they
    are the subwords of the model.

    Attributes:
        text: raw text of the translation.
        score: log-probability (base 2) per token, EOS included, as ``fairseq-generate`` prints
            it; with ``lenpen``, the log-probability is divided by ``length ** lenpen``.
        source_words: the S words of the source.
        words: the T words of the translation.
        attention: attention of each word and of EOS to each source word and to the source's EOS,
            ``(T + 1) x (S + 1)``; each row sums to 1. None if it was not requested.
        positional_scores: log-probability (base 2) of each word and of EOS, ``T + 1``.
    """

    text: str
    score: float
    source_words: List[str]
    words: List[str]
    attention: Optional[Tensor] = None
    positional_scores: List[float] = field(default_factory=list)

    @property
    def alignment(self) -> List[Tuple[int, int]]:
        """Pairs of word indices (source, target), from 0, in the order of the target.

        Each target word is aligned to the source word that has most of its attention.

        Raises:
            InputError: the translation was made without attention.
        """
        if self.attention is None:
            raise InputError("ask for attention: hypotheses(..., attention=True)")
        if not self.source_words:
            return []
        best = self.attention[: len(self.words), : len(self.source_words)].argmax(1)
        return [(source, target) for target, source in enumerate(best.tolist())]


class Translator:
    """A trained model or an ensemble that translates raw text. See :func:`load_translator`.

    Several threads may use a translator. It can be copied and pickled, e.g. for other processes.

    Args:
        models: fairseq models; they are moved to *device* and prepared for generation.
        task: fairseq task with the dictionaries.
        text: converts between raw text and subwords.
        device: device of the models.

    Attributes:
        models, task, device: the arguments.
        raw: the argument *text*.
    """

    def __init__(self, models: Sequence[Any], task: Any, text: RawText, device: torch.device):
        self.models, self.task, self.raw, self.device = list(models), task, text, device
        # fairseq prepares a model only once. Here it is without attention weights, which
        # subword_attention turns on for itself.
        for model in self.models:
            model.eval()
            model.to(device)
            model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
        self._generator({})  # packs the weights in the requested data type

    @overload
    def __call__(self, text: str, **options: Any) -> str: ...

    @overload
    def __call__(self, text: Iterable[str], **options: Any) -> List[str]: ...

    def __call__(self, text: Union[str, Iterable[str]], **options: Any) -> Union[str, List[str]]:
        """The best translation of a text, or of each of several texts.

        The lines of a text are translated one by one, and its translation has the same lines. Only
        a line feed ends a line, as in files. The line feed at the end of a single line is left out.

        Args:
            text: raw text of one sentence per line, or several such texts.
            options: see :meth:`hypotheses`, except for *nbest* and *attention*.

        Raises:
            InputError: see :meth:`hypotheses`.
        """
        for name in {"nbest", "attention"} & options.keys():
            raise InputError(f"{name} has no effect here: call hypotheses(...)")
        if isinstance(text, str):
            return self([text], **options)[0]
        texts = list(map(lines_of, items(text)))
        found = iter(self.hypotheses(itertools.chain(*texts), **options))
        return ["\n".join(next(found)[0].text for _ in lines) for lines in texts]

    def translate_lines(
        self,
        lines: Iterable[str],
        buffer_size: int = 10_000,
        first_number: int = 1,
        **options: Any,
    ) -> Iterator[List[Translation]]:
        """Translate a file or another stream of lines, which may be larger than memory.

        Args:
            lines: one sentence each.
            buffer_size: number of lines to read before they are translated.
            first_number, options: see :meth:`hypotheses`.

        Yields:
            the translations of each sentence, the best first.

        Raises:
            InputError: see :meth:`hypotheses`.
        """
        buffer_size = count("buffer_size", buffer_size)
        remaining = items(lines)
        while block := list(itertools.islice(remaining, buffer_size)):
            yield from self.hypotheses(block, first_number=first_number, **options)
            first_number += len(block)

    def hypotheses(
        self,
        sentences: Iterable[str],
        beam: int = 5,
        nbest: int = 1,
        attention: bool = False,
        batch_size: int = 64,
        progress: Optional[bool] = None,
        first_number: int = 1,
        max_source_length: Optional[int] = None,
        truncate: bool = False,
        **generation: Any,
    ) -> List[List[Translation]]:
        """The *nbest* translations of each sentence, the best first.

        The only translation of a sentence without words is the empty sentence, with the score 0. So
        is the translation of a sentence that is too long, and a warning says so.

        Args:
            sentences: raw text of one sentence each, without line breaks.
            beam: number of hypotheses per sentence in the search.
            nbest: number of translations per sentence, at most *beam*.
            attention: return attention and alignments as well; this needs another forward pass.
            batch_size: number of sentences that are translated together; fewer if they are long.
            progress: show a progress bar; None: on a terminal, from 100 sentences on.
            first_number: number of the first sentence in messages.
            max_source_length: longest sentence to translate, in subwords. By default 10,000, or
                what the model was built for if its encoder is not recurrent.
            truncate: translate the beginning of a sentence that is too long.
            generation: further options of ``fairseq-generate``, e.g. ``lenpen=1.5``. Without
                ``max_len_a`` and ``max_len_b``, a translation has at most 200 subwords, or twice as
                many as the longest sentence of its batch.

        Raises:
            InputError: an option has an invalid value or no effect, or a sentence is not a string,
                has line breaks, or has code points that are not characters.
        """
        beam, nbest, batch_size = (
            count(name, value)
            for name, value in (("beam", beam), ("nbest", nbest), ("batch_size", batch_size))
        )
        if nbest > beam:
            raise InputError(f"nbest={nbest} needs a beam of at least {nbest}, not beam={beam}")
        generator = self._generator({"beam": beam, "nbest": nbest, **generation})
        grows = not {"max_len_a", "max_len_b"} & generation.keys()
        longest = longest_source(self.models, max_source_length)
        lines = list(items(sentences))
        sources = [
            self._source(f"sentence {number}", line, longest, truncate)
            for number, line in enumerate(lines, first_number)
        ]
        empty = Translation("", 0.0, [], [], EMPTY_ATTENTION if attention else None, [0.0])
        translations = [[empty] for _ in lines]
        for indices in batches(list(map(len, sources)), batch_size, progress):
            with self._turn():
                found = self._search([sources[index] for index in indices], generator, grows)
                found = [hypotheses[:nbest] for hypotheses in found]
                weights = self._attention([sources[index] for index in indices], found, attention)
                for index, hypotheses in zip(indices, found):
                    source = lines[index], sources[index]
                    translations[index] = [
                        self._translation(
                            source, self._decode(hypothesis), hypothesis, next(weights)
                        )
                        for hypothesis in hypotheses
                    ]
        return translations

    def score(
        self,
        sources: Iterable[str],
        targets: Iterable[str],
        attention: bool = False,
        batch_size: int = 8,
        progress: Optional[bool] = None,
        first_number: int = 1,
        max_length: Optional[int] = None,
    ) -> List[Translation]:
        """Score given translations, as ``fairseq-generate --score-reference`` does.

        The score of a pair that is too long is NaN, without words, and a warning says so.

        Args:
            sources: raw text of one sentence each, without line breaks.
            targets: the translation of each of them, also without line breaks.
            attention: return attention and alignments as well.
            batch_size: number of pairs that are scored together; fewer if they are long. The logits
                of all their positions are in memory.
            progress, first_number: see :meth:`hypotheses`.
            max_length: longest source and longest target to score, in subwords. By default 10,000,
                or what the model was built for if it is not recurrent.

        Returns:
            the given translations with the model's scores.

        Raises:
            InputError: the numbers of sources and targets differ, an option has an invalid value,
                or a sentence is invalid (see :meth:`hypotheses`).
        """
        batch_size = count("batch_size", batch_size)
        limits = longest_pair(self.models, max_length)
        pairs = self._pairs(list(items(sources)), list(items(targets)), first_number)
        lengths = [
            self._length_to_score(number, pair, limits)
            for number, pair in enumerate(pairs, first_number)
        ]
        scorer = SequenceScorer(self.task.target_dictionary)
        unscored = EMPTY_ATTENTION if attention else None
        scored = [
            Translation(text, math.nan, [], [], unscored, [math.nan]) for _, (text, _) in pairs
        ]
        for indices in batches(lengths, batch_size, progress):
            batch = [pairs[index] for index in indices]
            with self._turn():
                found = self._force(batch, scorer)
                sources_of_batch = [subwords for (_, subwords), _ in batch]
                weights = self._attention(sources_of_batch, [[best] for best in found], attention)
                for index, pair, hypothesis in zip(indices, batch, found):
                    scored[index] = self._translation(*pair, hypothesis, next(weights))
        return scored

    def encode(self, subwords: Sequence[str]) -> Tensor:
        """The dictionary indices of a source sentence's subwords and of EOS, ``S``."""
        return _encode(self.task.source_dictionary, subwords)

    def _generator(self, options: Dict[str, Any]) -> Any:
        settings = generation_settings(options)
        if settings.sampling_topk > len(self.task.target_dictionary):
            raise InputError(
                f"sampling_topk={settings.sampling_topk} exceeds the "
                f"{len(self.task.target_dictionary)} subwords of the dictionary: lower it"
            )
        limit = {"max_len": longest_target(self.models)}
        with _turns:  # it may pack the weights
            return self.task.build_generator(self.models, settings, extra_gen_cls_kwargs=limit)

    def _source(self, name: str, line: str, longest: int, truncate: bool) -> List[str]:
        """The subwords of a sentence; an empty list if it is not to be translated."""
        subwords = self.raw.subwords(line, name)
        if len(subwords) <= longest:
            return subwords
        logger.warning(
            "%s has %d subwords, more than the limit of %d, so %s: split it, or raise "
            "max_source_length (%s...)",
            name,
            len(subwords),
            longest,
            "its end is not translated" if truncate else "its translation is empty",
            line.strip()[:40],
        )
        return subwords[:longest] if truncate else []

    @torch.no_grad()
    def _search(
        self, sources: Sequence[Sequence[str]], generator: Any, grows: bool
    ) -> List[List[Dict[str, Any]]]:
        """fairseq's hypotheses for each sentence of a batch, the best first.

        Args:
            sources: subwords of each sentence.
            generator: generator of the task.
            grows: let the longest translation grow with the sentences.
        """
        tokens = list(map(self.encode, sources))
        lengths = list(map(len, tokens))
        if grows:
            generator.max_len_b = max(GenerationConfig.max_len_b, 2 * max(lengths))
        longest = int(generator.max_len_a * max(lengths) + generator.max_len_b)
        longest = (
            max(lengths) if generator.match_source_len else min(longest, generator.max_len - 1)
        )
        if generator.min_len > longest:
            raise InputError(
                f"min_len={generator.min_len} exceeds the longest translation, {longest} subwords: "
                "lower it, or raise max_len_a or max_len_b"
            )
        dataset = self.task.build_dataset_for_inference(tokens, lengths)
        sample = self._collate(dataset)
        found = self.task.inference_step(generator, self.models, sample)
        return _in_order(sample, found)

    def _pairs(
        self, sources: Sequence[str], targets: Sequence[str], first_number: int
    ) -> List[Tuple[Segmented, Segmented]]:
        """The pairs to score; see :meth:`score`."""
        if len(sources) != len(targets):
            raise InputError(
                f"there are {len(sources)} sources, but {len(targets)} targets: give one target "
                "for each source"
            )
        return [
            (
                (source, self.raw.subwords(source, f"source {number}")),
                (target, self.raw.target_subwords(target, f"target {number}")),
            )
            for number, (source, target) in enumerate(zip(sources, targets), first_number)
        ]

    def _length_to_score(
        self, number: int, pair: Tuple[Segmented, Segmented], limits: Tuple[int, int]
    ) -> int:
        """The length of a pair in tokens, EOS included; 0 if it is not to be scored."""
        lengths = [len(subwords) for _, subwords in pair]
        for length, side, limit in zip(lengths, ("source", "target"), limits):
            if length > limit:
                logger.warning(
                    "%s %d has %d subwords, more than the limit of %d, so the pair has no score: "
                    "split it, or raise max_length",
                    *(side, number, length, limit),
                )
                return 0
        return max(lengths) + 1

    @torch.no_grad()
    def _force(
        self, pairs: Sequence[Tuple[Segmented, Segmented]], scorer: SequenceScorer
    ) -> List[Dict[str, Any]]:
        """The hypothesis of fairseq for each pair of a batch, which is the given target."""
        dictionaries = self.task.source_dictionary, self.task.target_dictionary
        sources, targets = (
            [_encode(dictionary, subwords) for _, subwords in side]
            for dictionary, side in zip(dictionaries, zip(*pairs))
        )
        sample = self._collate_pairs(sources, targets)
        return [best for (best,) in _in_order(sample, scorer.generate(self.models, sample))]

    def _attention(
        self,
        sources: Sequence[Sequence[str]],
        hypotheses: Sequence[Sequence[Dict[str, Any]]],
        wanted: bool,
    ) -> Iterator[Optional[Tensor]]:
        """Attention ``T x S`` of each hypothesis to the subwords of its source; None if unwanted.

        Args:
            sources: subwords of each sentence of a batch.
            hypotheses: those of fairseq for each sentence.
            wanted: whether to compute it.
        """
        pairs = [
            (source, hypothesis["tokens"])
            for source, found in zip(sources, hypotheses)
            for hypothesis in found
        ]
        # As many pairs at a time as there are sentences in a batch.
        for first in range(0, len(pairs), len(sources)):
            part = pairs[first : first + len(sources)]
            if not wanted:
                yield from (None for _ in part)
                continue
            sample = self._collate_pairs(
                [self.encode(source) for source, _ in part], [tokens.cpu() for _, tokens in part]
            )
            pad = self.task.target_dictionary.pad()
            yield from _in_order(sample, subword_attention(self.models, sample, pad))

    def _collate_pairs(
        self, sources: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> Dict[str, Any]:
        """Pairs of sentences, ``S`` and ``T`` indices each, as one batch on the device."""
        dataset = LanguagePairDataset(
            *(sources, list(map(len, sources)), self.task.source_dictionary),
            *(targets, list(map(len, targets)), self.task.target_dictionary),
        )
        return self._collate(dataset)

    def _collate(self, dataset: Any) -> Dict[str, Any]:
        """All sentences of a dataset of fairseq, as one batch on the device."""
        sample = dataset.collater([dataset[index] for index in range(len(dataset))])
        return utils.apply_to_sample(lambda tensor: tensor.to(self.device), sample)

    def _turn(self) -> ContextManager[Any]:
        """Exclude other threads if a model has modules whose buffers grow with the input."""
        is_own = all(
            isinstance(model, RecurrentModel) and isinstance(model.encoder, RecurrentEncoder)
            for model in self.models
        )
        return contextlib.nullcontext() if is_own else _turns

    def _decode(self, hypothesis: Dict[str, Any]) -> Segmented:
        """The raw text and the subwords of a hypothesis of fairseq."""
        dictionary = self.task.target_dictionary
        subwords = [dictionary[token] for token in hypothesis["tokens"].tolist()[:-1]]
        return self.raw.text(" ".join(subwords)), subwords

    def _translation(
        self,
        source: Segmented,
        target: Segmented,
        hypothesis: Dict[str, Any],
        attention: Optional[Tensor],
    ) -> Translation:
        """A translation from a hypothesis of fairseq.

        Args:
            source, target: raw text and subwords.
            hypothesis: tokens and scores.
            attention: attention between subwords, ``T x S``, if it is wanted.
        """
        source_words, columns = split_words(*source)
        words, rows = split_words(*target)
        columns, rows = [*columns, len(source_words)], [*rows, len(words)]  # EOS is the last word
        scores = [0.0] * (len(words) + 1)
        for row, score in zip(rows, (hypothesis["positional_scores"] / math.log(2)).tolist()):
            scores[row] += score
        weights = None if attention is None else merge(attention, rows, columns)
        score = float(hypothesis["score"]) / math.log(2)
        return Translation(target[0], score, source_words, words, weights, scores)


def _encode(dictionary: Dictionary, subwords: Sequence[str]) -> Tensor:
    """The indices of subwords and of EOS."""
    line = " ".join(subwords)
    return dictionary.encode_line(line, line_tokenizer=str.split, add_if_not_exist=False).long()


def _in_order(sample: Dict[str, Any], results: Iterable[Any]) -> List[Any]:
    """The results of a batch in the order of its dataset; fairseq sorts sentences by length."""
    by_index = dict(zip(sample["id"].tolist(), results))
    return [by_index[index] for index in range(len(by_index))]


def load_translator(
    path: Union[PathLike, Sequence[PathLike]],
    checkpoint: Optional[PathLike] = None,
    data: Optional[PathLike] = None,
    device: Optional[str] = None,
    dtype: Optional[str] = None,
) -> Translator:
    """Load a trained translation model, with its tokenisation and BPE.

    Args:
        path: directory of checkpoints, or a checkpoint; several checkpoints, as a list or joined by
            ``:``, are an ensemble.
        checkpoint: name of a checkpoint in the directory; by default the first of ``averaged.pt``,
            ``checkpoint_best.pt`` and ``checkpoint_last.pt`` that exists. The choice is logged.
        data: directory that ``fairseq-lrn prepare`` made. It is needed only if the model was
            trained without ``--user-dir fairseq_lrn`` and its data were moved.
        device: e.g. ``"cuda"``; by default a GPU if there is one.
        dtype: data type of matrix products on a CPU, ``"float32"``, ``"bfloat16"`` or ``"int8"``,
            as for ``--generation-dtype``. If it is unavailable, a warning says why. By default the
            type that the training run was given, or float32.

    Raises:
        InputError: a checkpoint cannot be used, the files that raw text needs are missing, or an
            argument is invalid.

    Example:
        >>> translate = load_translator("checkpoints/mine")  # doctest: +SKIP
        >>> translate("Two dogs play in the snow.")  # doctest: +SKIP
        'Zwei Hunde spielen im Schnee.'
    """
    if dtype not in (None, *MATMUL_DTYPES):
        raise InputError(f"dtype must be one of {', '.join(MATMUL_DTYPES)}, not {dtype}")
    files = checkpoints.chosen(path, checkpoint)
    states = [checkpoints.load(file) for file in files]  # raises clearer errors than fairseq
    for file, state in zip(files, states):
        _check_task(file, checkpoints.task_name(state))
    directory = None if data is None else checkpoints.decoded("data", data)
    text_directory = directory or find_text_directory(files[0], states[0], text_files.PARALLEL)
    torch_device = usable_device(device)
    text = RawText(text_directory, checkpoints.source_lang(states[0]))
    with checkpoints.readable(text_directory) as readable_directory:
        # A training run that inferred the languages from its data did not store them.
        overrides = {
            "data": readable_directory,
            "source_lang": text.source_lang,
            "target_lang": text.target_lang,
        }
        try:
            models, config, task = checkpoint_utils.load_model_ensemble_and_task(
                files, arg_overrides=overrides
            )
        except DataMismatch as error:
            ensemble = ". All models of an ensemble need the same" if len(files) > 1 else ""
            raise InputError(
                f"{' or '.join(files)} with the dictionaries in {text_directory}: {error}{ensemble}"
            ) from error
        _check_dictionaries(files, text_directory, task)
        settings = {**config.task, **overrides, "_name": "translation_lrn"}
        if dtype is not None:
            settings["generation_dtype"] = dtype
        dictionaries = task.source_dictionary, task.target_dictionary
        task = tasks.setup_task(OmegaConf.create(settings), dictionaries=dictionaries)
    task.cfg.data = text_directory
    return Translator(models, task, text, torch_device)


def _check_dictionaries(files: Sequence[str], text_directory: str, task: Any) -> None:
    """Refuse models that were trained with other dictionaries than those of the raw text.

    Models of fairseq itself, and older checkpoints, have no checksums of their dictionaries.

    Args:
        files: checkpoints. Training puts the dictionaries beside them.
        text_directory: directory of the dictionaries that are used.
        task: the task, which has loaded them.

    Raises:
        InputError: there is another dictionary beside a checkpoint.
    """
    for file in files:
        directory = os.path.dirname(file) or os.curdir
        if os.path.samefile(directory, text_directory):
            continue
        for lang, dictionary in (
            (task.cfg.source_lang, task.source_dictionary),
            (task.cfg.target_lang, task.target_dictionary),
        ):
            beside = os.path.join(directory, f"dict.{lang}.txt")
            if os.path.isfile(beside) and Dictionary.load(beside) != dictionary:
                raise InputError(
                    f"{beside} is not the dictionary that is used here: give the data that "
                    f"{file} was trained on, and models of the same data for an ensemble"
                )


def _check_task(file: str, name: Optional[str]) -> None:
    """Refuse a checkpoint of a task that has other options or other data than ``translation``.

    Args:
        file: path of the checkpoint.
        name: name of its task, or None if the checkpoint does not name it.
    """
    registry = tasks.TASK_DATACLASS_REGISTRY
    if name is None or issubclass(registry["translation_lrn"], registry.get(name, ())):
        return
    remedy = COMMANDS.get(name, f"translate with fairseq-generate --task {name}")
    raise InputError(
        f"{file} was trained with --task {name}, but only models of --task translation can be used "
        f"here: {remedy}"
    )
