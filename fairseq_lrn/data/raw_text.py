"""Raw text for a trained model and back, as ``scripts/prepare_text.py`` prepared its data.

What that takes is a few small files: the BPE model, the dictionaries and the record of the options.
They are copied beside each checkpoint, so that a directory of checkpoints is all it takes to
translate.
"""

import filecmp
import json
import os
import shutil
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import sentencepiece
from fairseq.data import Dictionary
from fairseq.data.encoders import register_bpe
from fairseq.dataclass import FairseqDataclass
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Detokenizer, Tokenizer

SENTENCEPIECE_MODEL = "sentencepiece.bpe.model"
RECORD = "prepare.json"


def read_record(directory: str) -> Dict[str, Any]:
    """The options that ``scripts/prepare_text.py`` was given.

    Raises:
        InputError: *directory* has no such record, or it is damaged.
    """
    path = os.path.join(directory, RECORD)
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}, which prepare_text.py wrote: {error}") from error
    if not isinstance(record, dict) or not {"source_lang", "target_lang"} <= record.keys():
        raise InputError(f"{path} is not what prepare_text.py wrote: it names no languages")
    return record


def files(directory: str) -> List[str]:
    """Names of the files that text takes; empty if *directory* was not prepared by our script.

    Raises:
        InputError: see :func:`read_record`.
    """
    if not os.path.isfile(os.path.join(directory, RECORD)):
        return []
    record = read_record(directory)
    dictionaries = [f"dict.{record[side]}.txt" for side in ("source_lang", "target_lang")]
    return [RECORD, SENTENCEPIECE_MODEL, *dictionaries]


def keep(data: str, directory: str) -> None:
    """Copy the files that text takes from prepared data to a directory of checkpoints.

    Raises:
        InputError: they cannot be written; what was there is as it was.
    """
    for name in files(data):
        source, target = os.path.join(data, name), os.path.join(directory, name)
        if os.path.isfile(source) and not (
            os.path.isfile(target) and filecmp.cmp(source, target, shallow=False)
        ):
            with open(source, "rb") as original, checkpoints.replacing(target) as copy:
                shutil.copyfileobj(original, copy)


def restrict(
    bpe: sentencepiece.SentencePieceProcessor, vocabulary: Set[str]
) -> sentencepiece.SentencePieceProcessor:
    """A BPE model that takes other pieces than those of *vocabulary* apart, down to characters."""
    model = ModelProto()
    model.ParseFromString(bpe.serialized_model_proto())
    for piece in model.pieces:
        is_ordinary = piece.type == ModelProto.SentencePiece.NORMAL and len(piece.piece) > 1
        if is_ordinary and piece.piece not in vocabulary:
            piece.type = ModelProto.SentencePiece.UNUSED
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


class RawText:
    """Source text to the pieces that a model reads, and what it writes to target text.

    Args:
        directory: data that ``scripts/prepare_text.py`` made, or checkpoints trained on them.
        source_lang: of the two languages, the one to translate from; by default the data's.

    Raises:
        InputError: a file is missing or damaged, or the data are of other languages.
    """

    def __init__(self, directory: str, source_lang: Optional[str] = None):
        names = files(directory)
        missing = [n for n in names or [RECORD] if not os.path.isfile(os.path.join(directory, n))]
        if missing:
            raise InputError(
                f"{directory} lacks {', '.join(missing)}: give the directory that "
                "prepare_text.py made, or copy the file from there"
            )
        record = read_record(directory)
        languages = [record["source_lang"], record["target_lang"]]
        if source_lang == languages[1]:  # a model of the opposite direction
            languages.reverse()
        elif source_lang not in (None, languages[0]):
            raise InputError(
                f"{directory} has {languages[0]} and {languages[1]}, not {source_lang}: give the "
                "directory that the model was trained on"
            )
        self.source_lang: str = languages[0]
        self.target_lang: str = languages[1]
        tokenize, lowercase = record.get("tokenize", True), record.get("lowercase", False)
        self.tokenize = Tokenizer(self.source_lang, tokenize, lowercase)
        self.detokenize = Detokenizer(self.target_lang) if tokenize else str
        path = os.path.join(directory, SENTENCEPIECE_MODEL)
        try:
            bpe = sentencepiece.SentencePieceProcessor(model_file=path)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{path} is damaged: {error}") from error
        if record.get("vocab_threshold", 0) > 0:
            dictionary = os.path.join(directory, f"dict.{self.source_lang}.txt")
            bpe = restrict(bpe, set(Dictionary.load(dictionary).symbols))
        self.bpe = bpe

    def pieces(self, line: str) -> List[str]:
        """The pieces of a line of source text."""
        return self.bpe.encode(self.tokenize(line), out_type=str)

    def text(self, pieces: str) -> str:
        """Target text from pieces with spaces between them."""
        return self.detokenize(" ".join(group(pieces.split())[0]))


def group(pieces: Sequence[str]) -> Tuple[List[str], List[int]]:
    """The words that pieces make up, and for each piece the number of its word, from 0."""
    words: List[str] = []
    numbers = []
    for piece in pieces:
        # A space by itself begins the word that follows.
        if not words or (piece.startswith(SENTENCEPIECE_SPACE) and words[-1]):
            words.append("")
        words[-1] += piece.replace(SENTENCEPIECE_SPACE, "")
        numbers.append(len(words) - 1)
    if words and not words[-1]:
        words.pop()
        numbers = [min(number, max(len(words) - 1, 0)) for number in numbers]
    return words, numbers


@dataclass
class PreparedTextConfig(FairseqDataclass):
    """Options of ``--bpe prepared_text``."""

    prepared_text: Optional[str] = field(
        default=None,
        metadata={"help": "directory that prepare_text.py made, or of checkpoints trained on it"},
    )
    prepared_text_source_lang: Optional[str] = field(
        default=None,
        metadata={"help": "language to translate from (default: the source of the data)"},
    )


@register_bpe("prepared_text", dataclass=PreparedTextConfig)
class PreparedText:
    """:class:`RawText` as fairseq's commands know it: ``fairseq-interactive --bpe prepared_text``.

    It tokenises, too, so it takes no ``--tokenizer`` beside it.
    """

    def __init__(self, cfg: PreparedTextConfig):
        if not cfg.prepared_text:
            raise InputError("--bpe prepared_text needs --prepared-text DIR")
        self.raw = RawText(cfg.prepared_text, cfg.prepared_text_source_lang)

    def encode(self, line: str) -> str:
        """Pieces, with spaces between them."""
        return " ".join(self.raw.pieces(line))

    def decode(self, pieces: str) -> str:
        """See :meth:`RawText.text`."""
        return self.raw.text(pieces)
