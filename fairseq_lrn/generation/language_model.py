"""Using a trained language model with raw text: :func:`load_language_model`."""

import logging
import math
import os
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_lrn.data import text_files
from fairseq_lrn.data.monolingual_text import MonolingualText
from fairseq_lrn.data.parallel import text_lines
from fairseq_lrn.data.symbols import word_indices
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.dynamic_evaluation import (
    checked_options,
    dynamic_perplexity,
    perplexity_of,
)
from fairseq_lrn.generation.inputs import batches, count, items, real
from fairseq_lrn.generation.loading import PathLike, load_one, usable_device

logger = logging.getLogger(__name__)

SEGMENT = 512  # tokens that are read at once; the logits of all of them are in memory
MANY_UNKNOWN = 0.03  # share of unknown words in a text, from which a warning is due
TASKS = ("stateful_language_modeling", "language_modeling")


Text = Union[str, "os.PathLike[Any]", Iterable[str]]


class LanguageModel:
    """A trained language model. See :func:`load_language_model`.

    Args:
        model: a model ``lrn_lm``; it is moved to *device* and prepared for generation.
        dictionary: its dictionary.
        text: converts between raw text and tokens.
        device: device of the model.
    """

    def __init__(
        self, model: Any, dictionary: Dictionary, text: MonolingualText, device: torch.device
    ):
        self.model = model.eval().to(device)
        self.model.make_generation_fast_()
        self.dictionary, self.text, self.device = dictionary, text, device

    @torch.no_grad()
    def perplexity(self, text: Text) -> float:
        """The perplexity of a text, read from its beginning to its end with the state carried.

        Each line ends with ``</s>``, which counts as a token. The text may be of any length.

        Args:
            text: raw text; a path (``pathlib.Path``) of a file of it; or its lines.

        Raises:
            InputError: the text is empty, or the file cannot be read.
        """
        total, number = 0.0, 0
        states: Optional[List[Tensor]] = None
        previous = self.dictionary.eos()
        for segment in self._segments(lines_in(text)):
            sources = segment.new_tensor([previous, *segment[:-1].tolist()])
            log_p, states = self._log_probs(sources.unsqueeze(1), states)  # T x 1 x V
            total -= float(log_p[:, 0].gather(1, segment.unsqueeze(1)).double().sum())
            number += len(segment)
            previous = int(segment[-1])
        if number == 0:
            raise InputError("the text is empty: give at least one line")
        return perplexity_of(total / number)

    def dynamic_perplexity(
        self,
        text: Text,
        training_text: Text,
        **options: Any,
    ) -> float:
        """The perplexity of a text, while the model goes on learning from it.

        Args:
            text, training_text: see :meth:`perplexity`. The model was trained on the second one.
            options: see :class:`~fairseq_lrn.generation.dynamic_evaluation.DynamicEvaluation`.

        Raises:
            InputError: a text is empty, too short or cannot be read, or an option is unknown or has
                an invalid value.
        """
        chosen = checked_options(options)
        tokens = self._tokens(text)
        training = self._tokens(training_text, "the training text")
        return dynamic_perplexity(self.model, tokens, training, chosen)

    def score(
        self, sentences: Iterable[str], batch_size: int = 64, progress: Optional[bool] = None
    ) -> List[float]:
        """The log-probability (base 2) of each sentence, ``</s>`` included.

        Args:
            sentences: raw text of one sentence each, without line breaks.
            batch_size: number of sentences that are scored together; fewer if they are long.
            progress: show a progress bar; None: on a terminal, from 100 sentences on.

        Raises:
            InputError: *batch_size* is not a number above 0, or a sentence is not a string, has
                line breaks, or has code points that are not characters.
        """
        batch_size = count("batch_size", batch_size)
        encoded = [
            self._encode(line, f"sentence {number}")
            for number, line in enumerate(items(sentences), 1)
        ]
        scores = [0.0] * len(encoded)
        for indices in batches(list(map(len, encoded)), batch_size, progress):
            found = self._score([encoded[index] for index in indices])
            for index, score in zip(indices, found):
                scores[index] = score
        return scores

    def generate(
        self,
        prompt: str = "",
        length: int = 100,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: Optional[int] = None,
    ) -> str:
        """Continue a text. Time and memory per token do not depend on how long it is.

        Args:
            prompt: raw text to continue, of any number of lines; it is not repeated in the result.
                White space at its end is no token, so it has no effect.
            length: number of tokens to write.
            temperature: divides the logits; 0 always takes the most probable token.
            top_k: choose among so many of the most probable tokens; 0: among all.
            top_p: choose among the most probable tokens whose probabilities add up to this.
            seed: of the choices; None: other choices in each call.

        Returns:
            the continuation, which can be appended to the prompt; ``</s>`` is a line break.

        Raises:
            InputError: an argument is not a number in its range, or the prompt is not valid text.
        """
        tokens = list(self.generate_tokens(prompt, length, temperature, top_k, top_p, seed))
        return self.text_of(tokens, prompt)

    @torch.no_grad()
    def generate_tokens(
        self,
        prompt: str = "",
        length: int = 100,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: Optional[int] = None,
    ) -> Iterator[int]:
        """The tokens of :meth:`generate`, one by one."""
        length = count("length", length)
        check_sampling(temperature, top_k, top_p, seed, len(self.dictionary))
        generator = torch.Generator(device="cpu")
        generator.seed() if seed is None else generator.manual_seed(int(seed))
        tokens = [self.dictionary.eos(), *self._prompt(prompt)]
        states: Optional[List[Tensor]] = None
        for start in range(0, len(tokens) - 1, SEGMENT):  # all but the last token
            part = tokens[start : min(start + SEGMENT, len(tokens) - 1)]
            _, _, states = self.model.decoder.read(self._on_device(part).unsqueeze(1), states)
        token, step = tokens[-1], self.model.decoder.fused_step()
        for _ in range(length):
            log_p, states = self._log_probs(self._on_device([[token]]), states, step)
            token = choose(self._possible(log_p[0, 0]), temperature, top_k, top_p, generator)
            yield token

    def _possible(self, log_p: Tensor) -> Tensor:
        """Log-probabilities ``V`` on the CPU, minus infinity for what never occurs in a text.

        The model gives finite numbers to it, which a high temperature would make probable.
        """
        start, end = self.model.decoder.classes
        check_scores(log_p[start:end].max())
        result = torch.full(log_p.shape, -math.inf)
        result[start:end] = log_p[start:end]
        return result

    def count_tokens(self, line: str) -> Tuple[int, int]:
        """The number of tokens of a line, ``</s>`` included, and how many are unknown words.

        A written ``<unk>`` is not counted as unknown.

        Raises:
            InputError: the line is not valid text.
        """
        encoded = self._encode(line, "the line")
        return len(encoded), self._unknown(line, encoded)

    def text_of(self, tokens: Sequence[int], before: str = "") -> str:
        """Raw text of tokens, after the text *before*; ``</s>`` is a line break."""
        lines: List[List[str]] = [[]]
        for token in tokens:
            if token == self.dictionary.eos():
                lines.append([])
            else:
                lines[-1].append(self.dictionary[token])
        first, *others = lines
        return "\n".join([self.text.text(first, before), *map(self.text.text, others)])

    def _encode(self, line: str, name: str) -> Tensor:
        """The tokens of a line and ``</s>``."""
        return word_indices(self.text.tokens(line, name), self.dictionary)

    def _unknown(self, line: str, encoded: Tensor) -> int:
        """See :meth:`count_tokens`; *encoded* are the tokens of the line."""
        found = int(encoded.eq(self.dictionary.unk()).sum())
        # Corpora such as the Penn Treebank write rare words as <unk>, in the training text too.
        return found and found - self.text.tokens(line).count(self.dictionary.unk_word)

    def _prompt(self, prompt: str) -> List[int]:
        """The tokens of a prompt, whose last line does not end."""
        if not isinstance(prompt, str):
            raise InputError(f"prompt must be a string, not {type(prompt).__name__}")
        lines = prompt.split("\n")
        tokens = [
            token
            for number, line in enumerate(lines, 1)
            for token in self._encode(line, f"line {number} of the prompt").tolist()
        ]
        return tokens[:-1]

    def _tokens(self, text: Text, name: str = "the text") -> Tensor:
        """All tokens of a text, on the device."""
        segments = list(self._segments(lines_in(text), name))
        if not segments:
            raise InputError(f"{name} is empty: give at least one line")
        return torch.cat(segments)

    def _segments(self, lines: Iterable[str], name: str = "the text") -> Iterator[Tensor]:
        """The tokens of a text in segments, on the device; many unknown words get a warning."""
        pending: List[int] = []
        total, unknown = 0, 0
        for number, line in enumerate(lines, 1):
            encoded = self._encode(line, f"line {number}")
            total, unknown = total + len(encoded), unknown + self._unknown(line, encoded)
            pending += encoded.tolist()
            while len(pending) >= SEGMENT:
                yield self._on_device(pending[:SEGMENT])
                del pending[:SEGMENT]
        if pending:
            yield self._on_device(pending)
        if unknown > MANY_UNKNOWN * total:
            logger.warning(
                "%.1f%% of the tokens of %s are unknown words, which are all alike and easily "
                "predicted: the perplexity is too low to be compared; write the text like the "
                "model's training text (capitals, punctuation)",
                100 * unknown / total,
                name,
            )

    @torch.no_grad()
    def _score(self, sentences: List[Tensor]) -> List[float]:
        """The log-probability (base 2) of each sentence of a batch."""
        pad, eos = self.dictionary.pad(), self.dictionary.eos()
        targets = torch.nn.utils.rnn.pad_sequence(sentences, padding_value=pad).to(self.device)
        sources = torch.cat([torch.full_like(targets[:1], eos), targets[:-1]])  # T x B
        totals = torch.zeros(len(sentences), dtype=torch.float64)
        states: Optional[List[Tensor]] = None
        step = max(1, SEGMENT // len(sentences))
        for source, target in zip(sources.split(step), targets.split(step)):
            log_p, states = self._log_probs(source, states)
            token_scores = log_p.gather(2, target.unsqueeze(2)).squeeze(2)  # T x B x 1 to T x B
            totals += token_scores.masked_fill(target == pad, 0.0).double().sum(0).cpu()
        check_scores(totals)
        return (totals / math.log(2)).tolist()

    def _log_probs(
        self, tokens: Tensor, states: Optional[List[Tensor]], step: Any = None
    ) -> Tuple[Tensor, List[Tensor]]:
        """Log-probabilities ``T x B x V`` after each of the tokens ``T x B``, and the states.

        *step* is that of the decoder's method ``read``.
        """
        decoder = self.model.decoder
        features, _, states = decoder.read(tokens, states, step)
        scores = decoder.output_layer(features.transpose(0, 1))  # T x B x C to B x T x C
        log_p = self.model.get_normalized_probs((scores, {}), log_probs=True)
        return log_p.transpose(0, 1), states  # B x T x V to T x B x V

    def _on_device(self, tokens: Sequence[Any]) -> Tensor:
        return torch.tensor(tokens, device=self.device)


def lines_in(text: Text) -> Iterable[str]:
    """The lines of a text; see :meth:`LanguageModel.perplexity`.

    As in a file, the line feed at the end of a string does not begin another line.
    """
    if isinstance(text, str):
        if "\n" not in text and (text.endswith(".txt") or os.path.isfile(text)):
            logger.warning(
                "'%s' is read as text, as every string is: for a file, give a pathlib.Path", text
            )
        return text.removesuffix("\n").split("\n") if text else []
    return text_lines(os.fspath(text)) if isinstance(text, os.PathLike) else items(text)


def check_scores(log_p: Tensor) -> None:
    """Refuse the scores of a model whose weights are NaN.

    Raises:
        InputError: a score is NaN.
    """
    if log_p.isnan().any():
        raise InputError(
            "the model's probabilities are NaN: use another checkpoint, as this one is damaged, or "
            "its training run was unstable"
        )


def check_sampling(
    temperature: float, top_k: int, top_p: float, seed: Optional[int], num_tokens: int
) -> None:
    """Refuse what is not a number in its range.

    Args:
        temperature, top_k, top_p, seed: see :meth:`LanguageModel.generate`.
        num_tokens: size of the dictionary.

    Raises:
        InputError: names the argument.
    """
    if not 0.0 <= real(temperature) < math.inf:
        raise InputError(f"temperature must be a number of at least 0, not {temperature!r}")
    if not 0 <= count("top_k", top_k, 0) <= num_tokens:
        raise InputError(
            f"top_k must be from 0 to {num_tokens}, the dictionary's size, not {top_k}"
        )
    if not 0.0 < real(top_p) <= 1.0:
        raise InputError(f"top_p must be a number above 0 and at most 1, not {top_p!r}")
    if temperature == 0.0 and (top_k > 0 or top_p < 1.0):
        raise InputError(
            "top_k and top_p have no effect with temperature=0, which always takes the most "
            "probable token: leave them out"
        )
    if seed is not None and not count("seed", seed, 0) < 2**64:
        raise InputError(f"seed must be below 2^64, not {seed}")


def choose(
    log_p: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator
) -> int:
    """A token.

    Args:
        log_p: log-probability of each token, ``V``.
        temperature, top_k, top_p: see :meth:`LanguageModel.generate`.
        generator: of random numbers.
    """
    if temperature == 0.0:
        return int(log_p.argmax())
    log_p = log_p.double()
    p = torch.softmax((log_p - log_p.max()) / temperature, 0)
    if top_k > 0 or top_p < 1.0:
        p, order = p.sort(descending=True, stable=True)
        if top_k > 0:
            p[top_k:] = 0.0
        # A token stays if those before it have less than top_p of the probability.
        p = p.masked_fill(p.cumsum(0) - p >= top_p * p.sum(), 0.0)
        return int(order[torch.multinomial(p, 1, generator=generator)])
    return int(torch.multinomial(p, 1, generator=generator))


def load_language_model(
    path: PathLike,
    checkpoint: Optional[PathLike] = None,
    data: Optional[PathLike] = None,
    device: Optional[str] = None,
) -> LanguageModel:
    """Load a trained language model, with its dictionary and BPE.

    Args:
        path: directory of checkpoints, or a checkpoint.
        checkpoint: name of a checkpoint in the directory; by default the first of ``averaged.pt``,
            ``checkpoint_best.pt`` and ``checkpoint_last.pt`` that exists. The choice is logged.
        data: directory that ``fairseq-lrn prepare-lm`` made. It is needed only if the checkpoint's
            directory lacks its files and the data were moved.
        device: e.g. ``"cuda"``; by default a GPU if there is one.

    Raises:
        InputError: the checkpoint cannot be used, it is not of a model ``lrn_lm``, the files that
            raw text needs are missing, or *device* cannot be used.

    Example:
        >>> model = load_language_model("ptb/lrn-1/checkpoints")  # doctest: +SKIP
        >>> model.perplexity(pathlib.Path("valid.txt"))  # doctest: +SKIP
        >>> model.generate("the company said", length=20, top_p=0.9)  # doctest: +SKIP
    """
    torch_device = usable_device(device)
    file, model, task, directory = load_one(
        path, checkpoint, data, text_files.MONOLINGUAL, TASKS, "a language model"
    )
    if not hasattr(model.decoder, "read"):
        raise InputError(
            f"{file} is a {type(model).__name__}; only models trained with --arch lrn_lm can "
            "be used here: evaluate others with fairseq-eval-lm"
        )
    return LanguageModel(model, task.source_dictionary, MonolingualText(directory), torch_device)
