"""Between raw text and a model's subwords, by the steps of ``fairseq-lrn prepare``."""

import os
from typing import TYPE_CHECKING, List, Optional, Sequence, Set, Tuple

from fairseq.data import Dictionary

from fairseq_lrn.data.text_files import (
    RECORD,
    SENTENCEPIECE_MODEL,
    files,
    moses_rules,
    read_record,
)
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Detokenizer, Tokenizer
from fairseq_lrn.errors import InputError

if TYPE_CHECKING:  # training does not need it, and importing it takes time
    import sentencepiece


def load_bpe(path: str) -> "sentencepiece.SentencePieceProcessor":
    """Load a BPE model of sentencepiece.

    Raises:
        InputError: the file is missing or damaged.
    """
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): copy it again from the directory that "
            "fairseq-lrn prepare made, or prepare the data again"
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


class RawText:
    """Converts raw source text to a model's subwords, and a model's subwords to raw target text.

    Args:
        directory: data that ``fairseq-lrn prepare`` made, or checkpoints of a training run on them.
        source_lang: the language to translate from; by default the source language of the data.

    Attributes:
        source_lang: the language to translate from.
        target_lang: the language to translate to.
        lowercase: whether the data are lower-cased.
        moses: the language of Moses's rules for the source; None: without Moses.

    Raises:
        InputError: a file is missing or damaged, or the data have other languages.
    """

    def __init__(self, directory: str, source_lang: Optional[str] = None):
        names = files(directory) or [RECORD]
        missing = [name for name in names if not os.path.isfile(os.path.join(directory, name))]
        if missing:
            raise InputError(
                f"{directory} lacks {', '.join(missing)}: give the directory that "
                "fairseq-lrn prepare made, or copy the file from it"
            )
        record = read_record(directory)
        languages = [record["source_lang"], record["target_lang"]]
        if source_lang == languages[1]:  # a model of the opposite direction
            languages.reverse()
        elif source_lang not in (None, languages[0]):
            raise InputError(
                f"{directory} has {languages[0]} and {languages[1]}, not {source_lang}: give the "
                "directory of the data that the model was trained on"
            )
        self.source_lang: str = languages[0]
        self.target_lang: str = languages[1]
        self.lowercase: bool = record.get("lowercase", False)
        rules = moses_rules(record)
        self.moses: Optional[str] = rules[self.source_lang]
        self.tokenize = Tokenizer(self.moses, self.lowercase)
        self.detokenize = Detokenizer(rules[self.target_lang])
        self.bpe = load_bpe(os.path.join(directory, SENTENCEPIECE_MODEL))
        if record.get("vocab_threshold", 0) > 0:
            path = os.path.join(directory, f"dict.{self.source_lang}.txt")
            self.bpe = restrict(self.bpe, set(Dictionary.load(path).symbols))

    def subwords(self, line: str) -> List[str]:
        """The subwords of a line of raw source text."""
        return self.bpe.encode(self.tokenize(line), out_type=str)

    def text(self, subwords: str) -> str:
        """Raw target text from subwords that are separated by spaces."""
        return self.detokenize(" ".join(group(subwords.split())[0]))


def group(subwords: Sequence[str]) -> Tuple[List[str], List[int]]:
    """Join subwords to words.

    Returns:
        the words, and for each subword the index of its word, from 0.
    """
    words: List[str] = []
    indices = []
    for subword in subwords:
        # A space by itself belongs to the word after it.
        if not words or (subword.startswith(SENTENCEPIECE_SPACE) and words[-1]):
            words.append("")
        words[-1] += subword.replace(SENTENCEPIECE_SPACE, "")
        indices.append(len(words) - 1)
    if words and not words[-1]:
        words.pop()
        indices = [min(index, max(len(words) - 1, 0)) for index in indices]
    return words, indices
