"""What a loaded model is given: checks of sentences and numbers, limits of length, and batches."""

import math
import operator
import sys
from typing import Any, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from fairseq.modules import LearnedPositionalEmbedding
from tqdm import tqdm

from fairseq_lrn.errors import InputError
from fairseq_lrn.models.base import RecurrentEncoder, RecurrentModel

MAX_SOURCE_LENGTH = 10_000  # subwords, for encoders that read any length
MAX_TARGET_LENGTH = 10_000  # subwords of a target to score: the logits of all are in memory
SUBWORDS_PER_SENTENCE = 256  # a batch has at most this number times its size, padding included
MIN_PROGRESS = 100  # sentences; with fewer, there is no progress bar by default


def items(sentences: Iterable[str]) -> Iterator[str]:
    """The elements of *sentences*.

    Raises:
        InputError: it is a single string, or nothing to iterate over.
    """
    if isinstance(sentences, str):
        raise InputError("give a list of sentences, not one string")
    if isinstance(sentences, (bytes, bytearray, Mapping)) or not isinstance(sentences, Iterable):
        raise InputError(f"give a list of sentences, not {type(sentences).__name__}")
    return iter(sentences)


def lines_of(text: Any) -> List[Any]:
    """The lines of a text. Only a line feed ends a line, as in files.

    The line feed at the end of a single line is left out: lines that were read from a file have
    one. What is not a string is returned as the only line.
    """
    if not isinstance(text, str):
        return [text]
    lines = text.split("\n")
    return lines[:1] if len(lines) == 2 and lines[1] == "" else lines


def count(name: str, value: Any, least: int = 1) -> int:
    """The number *value*.

    Args:
        name: what to call it in error messages.
        value: the number.
        least: the least number that is allowed.

    Raises:
        InputError: it is not a whole number, or below *least*.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        bound = "above 0" if least == 1 else f"of at least {least}"
        raise InputError(f"{name} must be a whole number {bound}, not {value!r}")
    return number


def real(value: Any) -> float:
    """The number *value*, or NaN, which is in no range, if it is none."""
    if isinstance(value, (str, bytes)):  # float() would read them
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, ArithmeticError, RuntimeError):  # the last one is of tensors
        return math.nan


def longest_source(
    models: Sequence[Any], requested: Optional[int] = None, name: str = "max_source_length"
) -> int:
    """The longest source sentence that models take, in subwords without EOS.

    Args:
        models: fairseq models with an encoder and a decoder.
        requested: the limit that the user wants; None: as many as the models were built for, or
            :data:`MAX_SOURCE_LENGTH` if their encoders are recurrent.
        name: name of *requested* in messages.

    Raises:
        InputError: *requested* is not a number above 0, or exceeds the positions that an encoder
            has learned.
    """
    encoders = [model.encoder for model in models]
    learned = [
        part.max_positions - 1  # EOS takes one
        for encoder in encoders
        for part in encoder.modules()
        if isinstance(part, LearnedPositionalEmbedding)
    ]
    if requested is None:
        others = [encoder for encoder in encoders if not isinstance(encoder, RecurrentEncoder)]
        limits = [*learned, *(encoder.max_positions() - 1 for encoder in others)]
        return min(limits, default=MAX_SOURCE_LENGTH)
    requested = count(name, requested)
    if requested > min(learned, default=requested):
        raise InputError(
            f"{name}={requested} exceeds the {min(learned)} positions that the model has learned: "
            "lower it"
        )
    return requested


def longest_target(models: Sequence[Any]) -> int:
    """The longest translation that models can write, in tokens, EOS included."""
    others = [model for model in models if not isinstance(model, RecurrentModel)]
    return min((model.max_decoder_positions() for model in others), default=sys.maxsize)


def longest_pair(models: Sequence[Any], requested: Optional[int] = None) -> Tuple[int, int]:
    """The longest source and the longest target that models score, in subwords without EOS.

    Args:
        models: fairseq models with an encoder and a decoder.
        requested: the limit of both that the user wants; None: as many as the models were built
            for, or :data:`MAX_SOURCE_LENGTH` and :data:`MAX_TARGET_LENGTH` if they are recurrent.

    Raises:
        InputError: *requested* is not a number above 0, or exceeds what a model was built for.
    """
    source = longest_source(models, requested, "max_length")
    target = longest_target(models) - 1  # EOS takes one
    if requested is None:
        return source, min(target, MAX_TARGET_LENGTH)
    if requested > target:
        raise InputError(
            f"max_length={requested} exceeds the {target} positions of the model's decoder: "
            "lower it"
        )
    return source, requested


def batches(
    lengths: Sequence[int], batch_size: int, progress: Optional[bool] = None
) -> Iterator[List[int]]:
    """The indices of sentences of similar length, batch by batch, while a progress bar advances.

    Args:
        lengths: the length of each sentence, in tokens. Sentences of length 0 are left out.
        batch_size: largest number of sentences in a batch. A batch of long sentences has fewer.
        progress: show the bar; None: on a terminal, from 100 sentences on.
    """
    pending = [index for index, length in enumerate(lengths) if length > 0]
    pending.sort(key=lengths.__getitem__)
    if progress is None:
        # With disable=None, tqdm shows the bar on a terminal only.
        disable = None if len(pending) >= MIN_PROGRESS else True
    else:
        disable = not progress
    with tqdm(total=len(pending), unit="sentence", disable=disable) as bar:
        start = 0
        while start < len(pending):
            size = 1
            for index in pending[start + 1 : start + batch_size]:
                if (size + 1) * lengths[index] > batch_size * SUBWORDS_PER_SENTENCE:
                    break
                size += 1
            yield pending[start : start + size]
            start += size
            bar.update(size)
