"""Between raw text and the subwords of a model, as ``fairseq-lrn prepare`` prepared its data."""

import os
from typing import TYPE_CHECKING, List, Optional, Sequence, Set, Tuple

from fairseq_lrn.data.text_files import RECORD, SENTENCEPIECE_MODEL, files, read_record
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Detokenizer, Tokenizer
from fairseq_lrn.errors import InputError

if TYPE_CHECKING:  # importing it takes time that training has no use for
    import sentencepiece


def restrict(
    bpe: "sentencepiece.SentencePieceProcessor", vocabulary: Set[str]
) -> "sentencepiece.SentencePieceProcessor":
    """A BPE model that splits every subword outside of *vocabulary*, down to characters."""
    import sentencepiece
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

    model = ModelProto()
    model.ParseFromString(bpe.serialized_model_proto())
    for piece in model.pieces:
        is_ordinary = piece.type == ModelProto.SentencePiece.NORMAL and len(piece.piece) > 1
        if is_ordinary and piece.piece not in vocabulary:
            piece.type = ModelProto.SentencePiece.UNUSED
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


class RawText:
    """Converts source text to the subwords that a model reads, and its output to target text.

    Args:
        directory: data that ``fairseq-lrn prepare`` made, or checkpoints of a training run on them.
        source_lang: the language to translate from; by default the source language of the data.

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
        tokenize, lowercase = record.get("tokenize", True), record.get("lowercase", False)
        self.tokenize = Tokenizer(self.source_lang, tokenize, lowercase)
        self.detokenize = Detokenizer(self.target_lang) if tokenize else str
        import sentencepiece
        from fairseq.data import Dictionary

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
        """The subwords of a line of source text."""
        return self.bpe.encode(self.tokenize(line), out_type=str)

    def text(self, pieces: str) -> str:
        """Target text from subwords that are separated by spaces."""
        return self.detokenize(" ".join(group(pieces.split())[0]))


def group(pieces: Sequence[str]) -> Tuple[List[str], List[int]]:
    """Join subwords to words.

    Returns:
        the words, and for each subword the index of its word, from 0.
    """
    words: List[str] = []
    numbers = []
    for piece in pieces:
        # A single space belongs to the word that follows.
        if not words or (piece.startswith(SENTENCEPIECE_SPACE) and words[-1]):
            words.append("")
        words[-1] += piece.replace(SENTENCEPIECE_SPACE, "")
        numbers.append(len(words) - 1)
    if words and not words[-1]:
        words.pop()
        numbers = [min(number, max(len(words) - 1, 0)) for number in numbers]
    return words, numbers
