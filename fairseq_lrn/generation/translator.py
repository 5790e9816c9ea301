"""Raw text in, raw text out: :func:`load_translator`."""

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

NOTHING = torch.ones(1, 1)  # attention of an empty sentence: end to end
LONG_WORK = 100  # sentences; from here on there is a progress bar


@dataclass
class Translation:
    """One translation of one sentence.

    Attributes:
        text: raw.
        score: log-probability (base 2) per token, its end of sentence included, as
            fairseq-generate prints it; with ``lenpen`` other than 1, by that power of the length.
        source_words: the source as the tokeniser leaves it, S words.
        words: the translation before it is detokenised, T words.
        attention: how much each word, and the end of the sentence after them, looked at each
            source word and at the end of the source, ``(T + 1) x (S + 1)``, rows sum to 1. None if
            it was not asked for.
        positional_scores: log-probability (base 2) of each word and of the end, ``T + 1``.
    """

    text: str
    score: float
    source_words: List[str]
    words: List[str]
    attention: Optional[Tensor] = None
    positional_scores: List[float] = field(default_factory=list)

    @property
    def alignment(self) -> List[Tuple[int, int]]:
        """Pairs (source, target), from 0: for each word the source word it looked at most.

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
    """A trained model, or an ensemble, that translates raw text. Made by :func:`load_translator`.

    Attributes:
        models: fairseq models.
        task: fairseq's task, with the dictionaries.
        raw: tokenisation and BPE.
        device: of the models.
    """

    def __init__(self, models: Sequence[Any], task: Any, text: RawText, device: torch.device):
        self.models, self.task, self.raw, self.device = list(models), task, text, device
        self.max_source_length = min(
            limits[0] if isinstance(limits, (tuple, list)) else limits
            for limits in (model.max_positions() for model in self.models)
        )
        # Once, and before any of them is asked for attention.
        for model in self.models:
            model.eval()
            model.to(device)
            model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)

    @overload
    def __call__(self, text: str, **options: Any) -> str: ...

    @overload
    def __call__(self, text: Sequence[str], **options: Any) -> List[str]: ...

    def __call__(self, text: Union[str, Sequence[str]], **options: Any) -> Union[str, List[str]]:
        """The best translation of a sentence, or of each of a list of sentences.

        Args:
            text: a sentence, or several.
            options: see :meth:`hypotheses`.
        """
        if isinstance(text, str):
            return self.hypotheses([text], **options)[0][0].text
        return [found[0].text for found in self.hypotheses(text, **options)]

    def translate_lines(
        self, lines: Iterable[str], buffer_size: int = 10_000, **options: Any
    ) -> Iterator[List[Translation]]:
        """Translate a file or any other stream of lines, of any length.

        Args:
            lines: each a sentence.
            buffer_size: lines that are read before they are translated.
            options: see :meth:`hypotheses`.
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

        A sentence without a word in it is translated by the empty one, with a score of 0.

        Args:
            sentences: raw text.
            beam: hypotheses that the search keeps.
            nbest: how many of them are returned; at most *beam*.
            attention: also return attention and alignments, which takes another pass.
            batch_size: sentences translated together.
            progress: show a progress bar; None: on a terminal, if it takes long.
            first_number: that errors give the first sentence.
            generation: further options of ``fairseq-generate``, e.g. ``lenpen=1.5``.

        Raises:
            InputError: an option is wrong, or a sentence too long for the model.
        """
        if isinstance(sentences, str):
            raise InputError("give a list of sentences, not one string")
        for name, value in (("beam", beam), ("nbest", nbest), ("batch_size", batch_size)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a number from 1 on, not {value!r}")
        if nbest > beam:
            raise InputError(f"nbest={nbest} needs a beam at least as wide, not beam={beam}")
        generator = self._generator(beam, nbest, generation)
        encoded = [
            self._encode(number, line) for number, line in enumerate(sentences, first_number)
        ]
        empty = Translation("", 0.0, [], [], NOTHING if attention else None)
        found = [[empty] for _ in sentences]
        todo = [number for number, pieces in enumerate(encoded) if pieces]
        todo.sort(key=lambda number: len(encoded[number]))
        # tqdm takes None for: only on a terminal.
        disable = (None if len(todo) >= LONG_WORK else True) if progress is None else not progress
        with tqdm(total=len(todo), unit="sentence", desc="translating", disable=disable) as bar:
            for start in range(0, len(todo), batch_size):
                numbers = todo[start : start + batch_size]
                batch = self._translate([encoded[n] for n in numbers], generator, nbest, attention)
                for number, translations in zip(numbers, batch):
                    found[number] = translations
                bar.update(len(numbers))
        return found

    def encode(self, pieces: Sequence[str]) -> Tensor:
        """The numbers of a sentence's pieces, its end included, ``S``."""
        return self.task.source_dictionary.encode_line(
            " ".join(pieces), line_tokenizer=str.split, add_if_not_exist=False
        ).long()

    def _generator(self, beam: int, nbest: int, options: Dict[str, Any]) -> Any:
        settings = OmegaConf.structured(GenerationConfig)
        known = [name for name in settings if not name.startswith("_")]
        for name in sorted(options.keys() - set(known)):
            raise InputError(
                f"{name} is no option of fairseq's generation; those are: {', '.join(known)}"
            )
        try:
            settings.update({"beam": beam, "nbest": nbest, **options})
        except Exception as error:
            raise InputError(f"options of generation: {error}") from error
        return self.task.build_generator(self.models, settings)

    def _encode(self, number: int, line: str) -> List[str]:
        if not isinstance(line, str):
            raise InputError(f"sentence {number} is no string but {type(line).__name__}")
        pieces = self.raw.pieces(line)
        if len(pieces) + 1 > self.max_source_length:
            raise InputError(
                f"sentence {number} has {len(pieces)} pieces, the model takes "
                f"{self.max_source_length - 1}: split it ({line.strip()[:40]}...)"
            )
        return pieces

    @torch.no_grad()
    def _translate(
        self, sources: List[List[str]], generator: Any, nbest: int, attention: bool
    ) -> List[List[Translation]]:
        tokens = [self.encode(pieces) for pieces in sources]
        lengths = [len(sentence) for sentence in tokens]
        dataset = self.task.build_dataset_for_inference(tokens, lengths)
        sample = dataset.collater([dataset[index] for index in range(len(tokens))])
        order = sample["id"].tolist()
        sample = utils.apply_to_sample(lambda tensor: tensor.to(self.device), sample)
        found: List[List[Translation]] = [[] for _ in sources]
        for index, hypotheses in zip(
            order, self.task.inference_step(generator, self.models, sample)
        ):
            for hypothesis in hypotheses[:nbest]:
                weights = self._attention(tokens[index], hypothesis) if attention else None
                found[index].append(self._decode(sources[index], hypothesis, weights))
        return found

    def _attention(self, source: Tensor, hypothesis: Dict[str, Any]) -> Tensor:
        """The mean of the models' weights, over all pieces, ``T x S``."""
        target = hypothesis["tokens"][None].to(self.device)
        source = source[None].to(self.device)
        shifted = target.roll(1, dims=1)  # its end of sentence first
        total = torch.zeros(target.size(1), source.size(1))
        for model in self.models:
            decoder = model.decoder
            before = getattr(decoder, "need_attn", None)
            decoder.need_attn = True
            try:
                _, extra = model(source, torch.tensor([source.size(1)]).to(self.device), shifted)
            finally:
                decoder.need_attn = before
            weights = (extra or {}).get("attn")
            weights = weights[0] if isinstance(weights, (list, tuple)) else weights
            if weights is None:
                raise InputError(f"{type(model).__name__} has no attention to show")
            total += weights[0].float().cpu()
        return total / len(self.models)

    def _decode(
        self, source: List[str], hypothesis: Dict[str, Any], attention: Optional[Tensor]
    ) -> Translation:
        dictionary = self.task.target_dictionary
        pieces = [dictionary[token] for token in hypothesis["tokens"].tolist()[:-1]]
        scores = (hypothesis["positional_scores"].cpu() / math.log(2)).tolist()
        source_words, columns = group(source)
        words, rows = group(pieces)
        positional = [0.0] * (len(words) + 1)
        for row, score in zip([*rows, len(words)], scores):
            positional[row] += score
        if attention is not None:
            attention = merge(attention, rows, columns)
        return Translation(
            self.raw.text(" ".join(pieces)),
            float(hypothesis["score"]) / math.log(2),
            source_words,
            words,
            attention,
            positional,
        )


def merge(attention: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Attention between words from that between pieces.

    The weights of a source word's pieces add up; of a target word's pieces, the mean is taken.

    Args:
        attention: ``(pieces + 1) x (source pieces + 1)``, the ends of the sentences included.
        rows, columns: the word that each piece belongs to.
    """
    down, across = (
        torch.tensor([*words, words[-1] + 1 if words else 0]) for words in (rows, columns)
    )
    width, height = int(across[-1]) + 1, int(down[-1]) + 1
    merged = attention.new_zeros(attention.size(0), width).index_add_(1, across, attention)
    merged = attention.new_zeros(height, width).index_add_(0, down, merged)
    return merged / down.bincount()[:, None]


def load_translator(
    path: str,
    checkpoint: Optional[str] = None,
    data: Optional[str] = None,
    device: Optional[str] = None,
    dtype: Optional[str] = None,
) -> Translator:
    """Load a trained translation model, with its tokenisation and BPE.

    Args:
        path: directory of checkpoints, or a checkpoint; several with ``:`` between them are an
            ensemble.
        checkpoint: name of the one to take from the directory; by default ``averaged.pt``,
            ``checkpoint_best.pt`` or ``checkpoint_last.pt``, the first that is there.
        data: directory that ``scripts/prepare_text.py`` made. Needed only if the checkpoints were
            trained without ``--user-dir fairseq_lrn`` and their data were moved.
        device: e.g. ``"cuda"``; by default a GPU if there is one.
        dtype: of the matrix products on a CPU: ``"float32"``, ``"bfloat16"`` or ``"int8"``; a
            warning says where they cannot be had (``--generation-dtype``, docs/generation.md). By
            default what the training was told, or float32.

    Raises:
        InputError: a checkpoint cannot be used, what its text takes was not found, or there is no
            such device or type.

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
    states = [checkpoints.load(file) for file in files]  # says what is wrong with them
    text_from = _text_directory(files[0], states[0], data)
    try:
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device!r} cannot be used: {reason}") from error
    text = RawText(text_from, checkpoints.source_lang(states[0]))
    # A training that was not told the languages, but found them in its data, has not stored them.
    languages = {"source_lang": text.source_lang, "target_lang": text.target_lang}
    models, config, _ = checkpoint_utils.load_model_ensemble_and_task(
        files, arg_overrides={"data": text_from, **languages}
    )
    settings = dict(OmegaConf.create(config.task))
    settings = {**settings, "_name": "translation_lrn", "data": text_from}
    if dtype is not None:
        settings["generation_dtype"] = dtype
    return Translator(models, tasks.setup_task(OmegaConf.create(settings)), text, target)


def _text_directory(file: str, state: Dict[str, Any], data: Optional[str]) -> str:
    """Where that lies which text takes: as given, beside the checkpoint, or with its data."""
    if data is not None:
        return data
    trained_on = checkpoints.task_options(state).get("data")
    places = [os.path.dirname(file) or "."]
    places += trained_on.split(os.pathsep)[:1] if isinstance(trained_on, str) else []
    for place in places:
        if text_files.files(place):
            return place
    raise InputError(
        f"there is no {text_files.RECORD} in {' and '.join(places)}, so the tokenisation of raw "
        "text is unknown: give the directory that fairseq-lrn prepare made as data"
    )
