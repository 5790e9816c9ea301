"""Between raw text and a language model's tokens, by the steps of ``fairseq-lrn prepare-lm``."""

import os
from typing import List, Sequence

from fairseq_lrn.data.bpe import load_bpe
from fairseq_lrn.data.raw_text import check_line
from fairseq_lrn.data.text_files import MONOLINGUAL, SENTENCEPIECE_MODEL
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Tokenizer


class MonolingualText:
    """Converts raw text to tokens, and tokens to raw text.

    Args:
        directory: data that ``fairseq-lrn prepare-lm`` made, or checkpoints of a training run on
            them.

    Attributes:
        words: whether tokens are words; otherwise they are subwords.
        lowercase: whether the data are lower-cased.

    Raises:
        InputError: a file is missing or damaged.
    """

    def __init__(self, directory: str):
        record = MONOLINGUAL.read(directory)
        self.words: bool = record["words"]
        self.lowercase: bool = record["lowercase"]
        self.bpe = None
        if not self.words:
            self.bpe = load_bpe(os.path.join(directory, SENTENCEPIECE_MODEL))

    def tokens(self, line: str, name: str = "the text") -> List[str]:
        """The tokens of a line of raw text.

        Args:
            line: the text.
            name: what to call it in error messages.

        Raises:
            InputError: *line* is not a string, has a line break between words, or has characters
                that UTF-8 cannot hold.
        """
        check_line(line, name)
        if self.bpe is None:
            return (line.lower() if self.lowercase else line).split()
        return self.bpe.encode(Tokenizer(None, self.lowercase)(line), out_type=str)

    def piece(self, token: str, is_first: bool) -> str:
        """What a token adds to the text of the tokens before it.

        Args:
            token: the token.
            is_first: whether it is the first one of its line.
        """
        if self.bpe is None:
            return token if is_first else f" {token}"
        text = token.replace(SENTENCEPIECE_SPACE, " ")
        return text.lstrip() if is_first else text

    def text(self, tokens: Sequence[str], before: str = "") -> str:
        """Raw text of the tokens of a line, which may begin inside of a word.

        Args:
            tokens: the tokens.
            before: raw text of the line before them. The result can be appended to it.
        """
        is_first = not self.ends_in_a_word(before)
        pieces = (self.piece(token, is_first and n == 0) for n, token in enumerate(tokens))
        return "".join(pieces)

    @staticmethod
    def ends_in_a_word(text: str) -> bool:
        """Whether a space parts the text from a word that follows it."""
        return text != "" and not text[-1].isspace()
