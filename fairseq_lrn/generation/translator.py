"""Translating raw text: :func:`load_translator`."""

import itertools
import math
import os
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union, overload

import torch
from fairseq import checkpoint_utils, tasks, utils
from fairseq.dataclass.configs import GenerationConfig
from omegaconf import OmegaConf
from torch import Tensor
from tqdm import tqdm

from fairseq_lrn import checkpoints
from fairseq_lrn.data import text_files
from fairseq_lrn.data.raw_text import RawText, group
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.precision import MATMUL_DTYPES

EMPTY_ATTENTION = torch.ones(1, 1)  # EOS to EOS, for a sentence without words
MIN_PROGRESS = 100  # sentences; with fewer, there is no progress bar by default


@dataclass
class Translation:
    """One translation of a sentence.

    Attributes:
        text: raw text of the translation.
        score: log-probability (base 2) per token, EOS included, as ``fairseq-generate`` prints
            it; with ``lenpen``, the log-probability is divided by ``length ** lenpen``.
        source_words: the S words of the source after tokenisation.
        words: the T words of the translation before detokenisation.
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

    Args:
        models: fairseq models; they are moved to *device* and prepared for generation.
        task: fairseq task with the dictionaries.
        text: converts between raw text and subwords.
        device: device of the models.

    Attributes:
        models, task, device: the arguments.
        raw: the argument *text*.
        max_source_length: longest source sentence, in tokens, EOS included.
    """

    def __init__(self, models: Sequence[Any], task: Any, text: RawText, device: torch.device):
        self.models, self.task, self.raw, self.device = list(models), task, text, device
        self.max_source_length = min(
            limits[0] if isinstance(limits, (tuple, list)) else limits
            for limits in (model.max_positions() for model in self.models)
        )
        # fairseq prepares a model only once. Here it is without attention weights; _attention turns
        # them on where they are needed.
        for model in self.models:
            model.eval()
            model.to(device)
            model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)

    @overload
    def __call__(self, text: str, **options: Any) -> str: ...

    @overload
    def __call__(self, text: Sequence[str], **options: Any) -> List[str]: ...

    def __call__(self, text: Union[str, Sequence[str]], **options: Any) -> Union[str, List[str]]:
        """The best translation of a sentence, or of each sentence in a list.

        Args:
            text: raw text of a sentence, or a list of sentences.
            options: see :meth:`hypotheses`.
        """
        if isinstance(text, str):
            return self.hypotheses([text], **options)[0][0].text
        return [translations[0].text for translations in self.hypotheses(text, **options)]

    def translate_lines(
        self, lines: Iterable[str], buffer_size: int = 10_000, **options: Any
    ) -> Iterator[List[Translation]]:
        """Translate a file or another stream of lines, which may be larger than memory.

        Args:
            lines: one sentence each.
            buffer_size: number of lines to read before they are translated.
            options: see :meth:`hypotheses`.

        Yields:
            the translations of each sentence, the best first.

        Raises:
            InputError: an option has an invalid value, or a sentence is too long for the model.
        """
        if buffer_size < 1:
            raise InputError(f"buffer_size must be at least 1, not {buffer_size}")
        remaining, done = iter(lines), 0
        while block := list(itertools.islice(remaining, buffer_size)):
            yield from self.hypotheses(block, first_number=done + 1, **options)
            done += len(block)

    def hypotheses(
        self,
        sentences: Sequence[str],
        beam: int = 5,
        nbest: int = 1,
        attention: bool = False,
        batch_size: int = 64,
        progress: Optional[bool] = None,
        first_number: int = 1,
        **generation: Any,
    ) -> List[List[Translation]]:
        """The *nbest* translations of each sentence, the best first.

        The only translation of a sentence without words is the empty sentence, with the score 0.

        Args:
            sentences: raw text.
            beam: number of hypotheses per sentence in the search.
            nbest: number of translations per sentence, at most *beam*.
            attention: return attention and alignments as well; this needs another forward pass.
            batch_size: number of sentences that are translated together.
            progress: show a progress bar; None: on a terminal, from 100 sentences on.
            first_number: number of the first sentence in error messages.
            generation: further options of ``fairseq-generate``, e.g. ``lenpen=1.5``.

        Raises:
            InputError: an option has an invalid value, or a sentence is too long for the model.
        """
        if isinstance(sentences, str):
            raise InputError("give a list of sentences, not one string")
        for name, value in (("beam", beam), ("nbest", nbest), ("batch_size", batch_size)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number above 0, not {value!r}")
        if nbest > beam:
            raise InputError(f"nbest={nbest} needs a beam of at least {nbest}, not beam={beam}")
        generator = self._generator(beam, nbest, generation)
        sources = [
            self._segment(number, line) for number, line in enumerate(sentences, first_number)
        ]
        empty = Translation("", 0.0, [], [], EMPTY_ATTENTION if attention else None)
        translations = [[empty] for _ in sentences]
        # Sentences of similar length together, to have little padding.
        pending = sorted(
            (index for index, subwords in enumerate(sources) if subwords),
            key=lambda index: len(sources[index]),
        )
        if progress is None:
            # With disable=None, tqdm shows the bar on a terminal only.
            disable = None if len(pending) >= MIN_PROGRESS else True
        else:
            disable = not progress
        with tqdm(total=len(pending), unit="sentence", desc="translating", disable=disable) as bar:
            for start in range(0, len(pending), batch_size):
                indices = pending[start : start + batch_size]
                batch = [sources[index] for index in indices]
                results = self._translate(batch, generator, nbest, attention)
                for index, result in zip(indices, results):
                    translations[index] = result
                bar.update(len(indices))
        return translations

    def encode(self, subwords: Sequence[str]) -> Tensor:
        """The dictionary indices of a source sentence's subwords and of EOS, ``S``."""
        return self.task.source_dictionary.encode_line(
            " ".join(subwords), line_tokenizer=str.split, add_if_not_exist=False
        ).long()

    def _generator(self, beam: int, nbest: int, options: Dict[str, Any]) -> Any:
        settings = OmegaConf.structured(GenerationConfig)
        known = [name for name in settings if not name.startswith("_")]
        for name in sorted(options.keys() - set(known)):
            raise InputError(
                f"{name} is not a generation option of fairseq: choose from {', '.join(known)}"
            )
        try:
            settings.update({"beam": beam, "nbest": nbest, **options})
        except Exception as error:
            raise InputError(f"invalid generation option: {error}") from error
        return self.task.build_generator(self.models, settings)

    def _segment(self, number: int, line: str) -> List[str]:
        """The subwords of sentence *number*."""
        if not isinstance(line, str):
            raise InputError(f"sentence {number} must be a string, not {type(line).__name__}")
        subwords = self.raw.subwords(line)
        if len(subwords) + 1 > self.max_source_length:
            raise InputError(
                f"sentence {number} has {len(subwords)} subwords, but the model takes at most "
                f"{self.max_source_length - 1}: split it ({line.strip()[:40]}...)"
            )
        return subwords

    @torch.no_grad()
    def _translate(
        self, sources: List[List[str]], generator: Any, nbest: int, attention: bool
    ) -> List[List[Translation]]:
        """Translate a batch of sentences, given as subwords."""
        tokens = [self.encode(subwords) for subwords in sources]
        lengths = [len(sentence) for sentence in tokens]
        dataset = self.task.build_dataset_for_inference(tokens, lengths)
        sample = dataset.collater([dataset[index] for index in range(len(tokens))])
        order = sample["id"].tolist()
        sample = utils.apply_to_sample(lambda tensor: tensor.to(self.device), sample)
        results: List[List[Translation]] = [[] for _ in sources]
        for index, hypotheses in zip(
            order, self.task.inference_step(generator, self.models, sample)
        ):
            for hypothesis in hypotheses[:nbest]:
                weights = self._attention(tokens[index], hypothesis) if attention else None
                results[index].append(self._decode(sources[index], hypothesis, weights))
        return results

    def _attention(self, source: Tensor, hypothesis: Dict[str, Any]) -> Tensor:
        """Attention between subwords, ``T x S``, EOS included, as the mean over the models."""
        target = hypothesis["tokens"][None].to(self.device)  # 1 x T
        source = source[None].to(self.device)  # 1 x S
        prev_output_tokens = target.roll(1, dims=1)  # EOS comes first
        lengths = torch.tensor([source.size(1)], device=self.device)
        total = torch.zeros(target.size(1), source.size(1))
        for model in self.models:
            decoder = model.decoder
            need_attn = getattr(decoder, "need_attn", None)
            decoder.need_attn = True
            try:
                _, extra = model(source, lengths, prev_output_tokens)
            finally:
                decoder.need_attn = need_attn
            weights = (extra or {}).get("attn")
            weights = weights[0] if isinstance(weights, (list, tuple)) else weights
            if weights is None:
                raise InputError(
                    f"{type(model).__name__} returns no attention: translate without it"
                )
            total += weights[0].float().cpu()  # 1 x T x S to T x S
        return total / len(self.models)

    def _decode(
        self, source: List[str], hypothesis: Dict[str, Any], attention: Optional[Tensor]
    ) -> Translation:
        """A translation from a hypothesis; *source* and *attention* are of subwords."""
        dictionary = self.task.target_dictionary
        subwords = [dictionary[token] for token in hypothesis["tokens"].tolist()[:-1]]
        scores = (hypothesis["positional_scores"].cpu() / math.log(2)).tolist()
        source_words, columns = group(source)
        words, rows = group(subwords)
        word_scores = [0.0] * (len(words) + 1)
        for row, score in zip([*rows, len(words)], scores):
            word_scores[row] += score
        if attention is not None:
            attention = merge(attention, rows, columns)
        return Translation(
            self.raw.text(" ".join(subwords)),
            float(hypothesis["score"]) / math.log(2),
            source_words,
            words,
            attention,
            word_scores,
        )


def merge(attention: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Attention between words, from the attention between subwords.

    The weights of a source word's subwords are added. Over the subwords of a target word, the mean
    is taken, so each row still sums to 1.

    Args:
        attention: attention of t target subwords and EOS to s source subwords and EOS,
            ``(t + 1) x (s + 1)``.
        rows: index of the word that each of the t target subwords belongs to.
        columns: index of the word that each of the s source subwords belongs to.

    Returns:
        attention of T words and EOS to S words and EOS, ``(T + 1) x (S + 1)``.
    """
    # EOS is one more word.
    row_index, column_index = (
        torch.tensor([*indices, indices[-1] + 1 if indices else 0]) for indices in (rows, columns)
    )
    height, width = int(row_index[-1]) + 1, int(column_index[-1]) + 1
    # (t + 1) x (s + 1) to (t + 1) x (S + 1) to (T + 1) x (S + 1)
    merged = attention.new_zeros(attention.size(0), width).index_add_(1, column_index, attention)
    merged = attention.new_zeros(height, width).index_add_(0, row_index, merged)
    return merged / row_index.bincount()[:, None]


def load_translator(
    path: str,
    checkpoint: Optional[str] = None,
    data: Optional[str] = None,
    device: Optional[str] = None,
    dtype: Optional[str] = None,
) -> Translator:
    """Load a trained translation model, with its tokenisation and BPE.

    Args:
        path: directory of checkpoints, or a checkpoint; several checkpoints, joined by ``:``, are
            an ensemble.
        checkpoint: name of a checkpoint in the directory; by default the first of ``averaged.pt``,
            ``checkpoint_best.pt`` and ``checkpoint_last.pt`` that exists.
        data: directory that ``fairseq-lrn prepare`` made. It is needed only if the model was
            trained without ``--user-dir fairseq_lrn`` and its data were moved.
        device: e.g. ``"cuda"``; by default a GPU if there is one.
        dtype: data type of matrix products on a CPU, ``"float32"``, ``"bfloat16"`` or ``"int8"``,
            as for ``--generation-dtype``. If it is unavailable, a warning says why. By default the
            type that the training run was given, or float32.

    Raises:
        InputError: a checkpoint cannot be used, the files that raw text needs are missing, or
            *device* or *dtype* is invalid.

    Example:
        >>> translate = load_translator("checkpoints/mine")  # doctest: +SKIP
        >>> translate("Two dogs play in the snow.")  # doctest: +SKIP
        'Zwei Hunde spielen im Schnee.'
    """
    if dtype not in (None, *MATMUL_DTYPES):
        raise InputError(f"dtype must be one of {', '.join(MATMUL_DTYPES)}, not {dtype}")
    if os.path.isdir(path):
        files = [os.path.join(path, checkpoint or checkpoints.preferred(path))]
    else:
        files = path.split(os.pathsep)
    states = [checkpoints.load(file) for file in files]  # raises clearer errors than fairseq
    for file, state in zip(files, states):
        _check_task(file, checkpoints.task_name(state))
    text_directory = _text_directory(files[0], states[0], data)
    torch_device = _usable_device(device)
    text = RawText(text_directory, checkpoints.source_lang(states[0]))
    # A training run that inferred the languages from its data did not store them.
    languages = {"source_lang": text.source_lang, "target_lang": text.target_lang}
    models, config, _ = checkpoint_utils.load_model_ensemble_and_task(
        files, arg_overrides={"data": text_directory, **languages}
    )
    settings = dict(OmegaConf.create(config.task))
    settings = {**settings, "_name": "translation_lrn", "data": text_directory}
    if dtype is not None:
        settings["generation_dtype"] = dtype
    return Translator(models, tasks.setup_task(OmegaConf.create(settings)), text, torch_device)


def _check_task(file: str, name: Optional[str]) -> None:
    """Refuse a checkpoint of a task that has other options or other data than ``translation``.

    Args:
        file: path of the checkpoint.
        name: name of its task, or None if the checkpoint does not name it.
    """
    registry = tasks.TASK_DATACLASS_REGISTRY
    if name is None or issubclass(registry["translation_lrn"], registry.get(name, ())):
        return
    raise InputError(
        f"{file} was trained with --task {name}, but only models of --task translation can be used "
        f"here: translate with fairseq-generate --task {name}"
    )


def _usable_device(name: Optional[str]) -> torch.device:
    """The device *name*, by default a GPU if there is one.

    Raises:
        InputError: torch cannot use the device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}") from error
    return device


def _text_directory(file: str, state: Dict[str, Any], data: Optional[str]) -> str:
    """The directory with the files that raw text needs.

    Args:
        file: path of a checkpoint.
        state: the checkpoint.
        data: the directory, if the user gave it.

    Raises:
        InputError: neither the checkpoint's directory nor its training data have these files.
    """
    if data is not None:
        return data
    directories = [os.path.dirname(file) or "."]
    training_data = checkpoints.task_options(state).get("data")
    if isinstance(training_data, str):
        directories.append(training_data.split(os.pathsep)[0])
    for directory in directories:
        if text_files.files(directory):
            return directory
    raise InputError(
        f"there is no {text_files.RECORD} in {' and '.join(directories)}, so the tokenisation of "
        "raw text is unknown: give the directory that fairseq-lrn prepare made, as data=DIR or "
        "--data DIR"
    )
