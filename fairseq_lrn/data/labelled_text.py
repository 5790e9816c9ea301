"""Between raw text and what models of labelled text read, by ``fairseq-lrn prepare-labelled``."""

import os
import re
from typing import List, Optional, Sequence, Tuple

import torch
from fairseq.data import Dictionary

from fairseq_lrn.data.bpe import load_bpe
from fairseq_lrn.data.labelled_files import SPANS
from fairseq_lrn.data.punctuation import find_tokens
from fairseq_lrn.data.raw_text import check_line, check_text
from fairseq_lrn.data.symbols import word_indices
from fairseq_lrn.data.text_files import LABELLED, SENTENCEPIECE_MODEL
from fairseq_lrn.data.tokenization import Tokenizer
from fairseq_lrn.data.words import token_offsets
from fairseq_lrn.errors import InputError

TOKENIZERS = SPACE, MOSES, SENTENCEPIECE, PUNCTUATION = (
    *("space", "moses", "sentencepiece", "punctuation"),
)


class LabelledText:
    """Converts raw text to words, as the training texts were.

    Args:
        directory: data that ``fairseq-lrn prepare-labelled`` made, or checkpoints of a training run
            on them.

    Attributes:
        kind: what has a label: ``text``, ``pair`` or ``tags`` (each word); or ``spans``, answers in
            a text, which may have line breaks.
        tokenizer: splits text: ``space``, ``moses``, ``sentencepiece`` or ``punctuation``.
        language: the language of Moses's rules; None: there are none.
        lowercase: whether the words in the dictionary are lower-cased.
        characters: whether the data have the characters of words.

    Raises:
        InputError: a file is missing or damaged.
    """

    def __init__(self, directory: str):
        record = LABELLED.read(directory)
        self.kind: str = record["kind"]
        self.tokenizer: str = record["tokenizer"]
        self.language: Optional[str] = record["language"]
        self.lowercase: bool = record["lowercase"]
        self.characters: bool = record["characters"]
        self.bpe = None
        if self.tokenizer == SENTENCEPIECE:
            self.bpe = load_bpe(os.path.join(directory, SENTENCEPIECE_MODEL))

    def words(self, text: str, name: str = "the text") -> List[str]:
        """The words (or subwords) of a text; their characters are what models read.

        They are not lower-cased, except subwords, whose text is lower-cased before it is split.

        Args:
            text: the text.
            name: what to call it in error messages.

        Raises:
            InputError: *text* is not a string, has characters that UTF-8 cannot hold, or has a line
                break between words although :attr:`kind` is not ``spans``.
        """
        return self._words(text, name, self.tokenizer)

    def _words(self, text: str, name: str, tokenizer: str) -> List[str]:
        self._check(text, name)
        if tokenizer == SPACE:
            return text.split()
        if tokenizer == PUNCTUATION:
            return [word for word, _, _ in find_tokens(text)]
        if tokenizer == MOSES:
            # As in the files of prepare-labelled: Moses has rules for spaces that do not break.
            spaced = " ".join(text.split())
            return Tokenizer(self.language, lowercase=False)(spaced).split()
        assert self.bpe is not None
        return self.bpe.encode(Tokenizer(None, self.lowercase)(text), out_type=str)

    def words_with_offsets(
        self, text: str, name: str = "the text", tokenizer: Optional[str] = None
    ) -> List[Tuple[str, int, int]]:
        """The words of a text, each with its place in it.

        Args:
            text: the text.
            name: what to call it in error messages.
            tokenizer: ``moses`` to split punctuation from words in raw text for a tagger, whose
                training data were split into words already; None: :attr:`tokenizer`.

        Returns:
            for each word itself, the position of its first character and the position after its
            last character. Where Moses changes characters, for example quotation marks, the
            positions are those of the similar place in *text*.

        Raises:
            InputError: see :meth:`words`; or there are no rules of Moses for :attr:`language`.
        """
        tokenizer = tokenizer or self.tokenizer
        self._check(text, name)
        if tokenizer == SPACE:
            return [(match.group(), *match.span()) for match in re.finditer(r"\S+", text)]
        if tokenizer == PUNCTUATION:
            return find_tokens(text)
        if tokenizer == MOSES and self.language is None:
            raise InputError(
                "Moses has no rules for the language of these data: separate the words of "
                f"{name} by spaces, and choose the tokenizer {SPACE}"
            )
        words = self._words(text, name, tokenizer)
        offsets = token_offsets(text, words)
        return [(word, start, end) for word, (start, end) in zip(words, offsets)]

    def _check(self, text: str, name: str) -> None:
        (check_text if self.kind == SPANS else check_line)(text, name)

    def lookup(self, word: str) -> str:
        """The form of a word in the dictionary."""
        return word.lower() if self.lowercase else word

    def indices(self, words: Sequence[str], dictionary: Dictionary) -> torch.Tensor:
        """The indices of words, ``T + 1``, with ``</s>`` at the end.

        A word that the dictionary lacks may be there in lower case.

        Args:
            words: words as :meth:`words` returns them.
            dictionary: their dictionary.
        """
        forms = map(self.lookup, words)
        known = dictionary.indices
        return word_indices([form if form in known else form.lower() for form in forms], dictionary)


def character_indices(words: Sequence[str], dictionary: Dictionary) -> torch.Tensor:
    """The indices of the characters of each word, with ``</s>`` after each word, in one sequence.

    Args:
        words: words as :meth:`LabelledText.words` returns them.
        dictionary: dictionary of the characters.
    """
    find, unknown, end = dictionary.indices.get, dictionary.unk(), [dictionary.eos()]
    return torch.tensor(
        [
            index
            for word in words
            for index in [*(find(character, unknown) for character in word), *end]
        ],
        dtype=torch.long,
    )
