"""BPE models of sentencepiece: learning, loading and applying them."""

import logging
import os
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Iterable, Iterator, List, Optional, Sequence, Set

from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE
from fairseq_lrn.errors import InputError

if TYPE_CHECKING:  # training does not need it, and importing it takes time
    import sentencepiece

logger = logging.getLogger(__name__)

DEFAULT_VOCAB_SIZE = 8000
LINE = 1000  # characters of a line of the training text
ENCODED_AT_ONCE = 100_000  # lines


def learn_bpe(
    model: str,
    texts: Sequence[Iterable[str]],
    vocab_size: Optional[int] = None,
    merges: Optional[int] = None,
) -> None:
    """Train a BPE model with sentencepiece, one for all texts together.

    Args:
        model: path of the model to write, with the suffix ``.model``.
        texts: the lines of each text, tokenised.
        vocab_size: number of subwords, characters included; None: :data:`DEFAULT_VOCAB_SIZE`.
        merges: number of merges, in place of *vocab_size*; fewer if the texts have fewer.

    Raises:
        InputError: sentencepiece fails, e.g. because the texts are too small for *vocab_size*.
    """
    inputs = [f"{model}.input{number}" for number, _ in enumerate(texts)]
    for path, lines in zip(inputs, texts):
        _write_text(path, lines)
    _train(inputs, model, vocab_size or DEFAULT_VOCAB_SIZE, merges)
    for path in inputs:
        os.remove(path)


def _write_text(path: str, lines: Iterable[str]) -> None:
    """Write text for sentencepiece, with long lines cut between words.

    sentencepiece leaves out lines of more than 4192 bytes.
    """
    cut = partial(textwrap.wrap, width=LINE, break_on_hyphens=False)
    write_lines(
        path,
        (part for line in lines for part in ([line] if len(line) <= LINE else cut(line))),
    )


def _train(inputs: List[str], model: str, vocab_size: int, merges: Optional[int]) -> None:
    """:func:`learn_bpe` on files."""
    import sentencepiece

    if merges is not None:
        characters: Set[str] = set()
        for path in inputs:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    characters.update(line)
        # The vocabulary has a character for spaces, none for line ends, and three special symbols.
        characters = (characters - {"\n", " "}) | {SENTENCEPIECE_SPACE}
        vocab_size = merges + len(characters) + 3
    logger.info("train a joint BPE of %d subwords", vocab_size)
    prefix = model.removesuffix(".model")
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=inputs,
            model_prefix=prefix,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=merges is None,
            character_coverage=1.0,
            # The text is normalised already, and detokenisation could not undo a change here.
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"sentencepiece cannot make {vocab_size} subwords from the training text: choose "
            f"another {'--vocab-size' if merges is None else '--bpe-merges'} ({error})"
        ) from error
    os.remove(prefix + ".vocab")


def load_bpe(path: str) -> "sentencepiece.SentencePieceProcessor":
    """Load a BPE model of sentencepiece.

    Raises:
        InputError: the file is missing or damaged.
    """
    import sentencepiece

    try:
        bpe = sentencepiece.SentencePieceProcessor()
        with open(path, "rb") as file:  # sentencepiece itself opens no name that is not UTF-8
            bpe.LoadFromSerializedProto(file.read())
        return bpe
    except (OSError, RuntimeError) as error:
        fault = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
        raise InputError(
            f"{path} is {fault}: copy it again from the directory of the prepared data, or prepare "
            "the data again"
        ) from error


def restrict(
    bpe: "sentencepiece.SentencePieceProcessor", vocabulary: Set[str]
) -> "sentencepiece.SentencePieceProcessor":
    """A BPE model that splits every subword outside of *vocabulary*, down to characters."""
    import sentencepiece
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

    model = ModelProto()
    model.ParseFromString(bpe.serialized_model_proto())
    for entry in model.pieces:
        is_splittable = entry.type == ModelProto.SentencePiece.NORMAL and len(entry.piece) > 1
        if is_splittable and entry.piece not in vocabulary:
            entry.type = ModelProto.SentencePiece.UNUSED
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def encode(
    bpe: "sentencepiece.SentencePieceProcessor", lines: List[str], workers: int
) -> Iterator[List[str]]:
    """The subwords of each line, computed in blocks, because a large corpus does not fit in memory.

    Args:
        bpe: BPE model.
        lines: tokenised lines.
        workers: number of threads.
    """
    for start in range(0, len(lines), ENCODED_AT_ONCE):
        block = lines[start : start + ENCODED_AT_ONCE]
        yield from bpe.encode(block, out_type=str, num_threads=workers)
