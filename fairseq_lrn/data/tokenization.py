"""Moses tokenisation and detokenisation of single lines (sacremoses)."""

import unicodedata
from functools import cache
from typing import Optional

SENTENCEPIECE_SPACE = "\u2581"  # sentencepiece writes it in place of a space


class Tokenizer:
    """Moses normalisation and tokenisation, as a class that worker processes can receive.

    Args:
        moses: the language of Moses's rules; None: only the spaces are normalised.
        lowercase: lower-case the result.
    """

    def __init__(self, moses: Optional[str], lowercase: bool):
        self.moses, self.lowercase = moses, lowercase

    def __call__(self, line: str) -> str:
        """The tokens of a line, with single spaces between them."""
        # After subword segmentation, this character would be indistinguishable from a space.
        line = line.replace(SENTENCEPIECE_SPACE, "_")
        if self.moses is not None:
            # Moses would separate a letter from an accent that is a character of its own.
            line = unicodedata.normalize("NFC", line)
            normalizer, tokenizer = _moses(self.moses)
            # Without escapes, the model's output is plain text, and BLEU counts the same tokens.
            line = tokenizer.tokenize(normalizer.normalize(line), return_str=True, escape=False)
        # Tokenisation may introduce unusual spaces, which would become subwords.
        line = " ".join(line.split())
        return line.lower() if self.lowercase else line


@cache  # compiling the regular expressions takes longer than tokenising many lines
def _moses(lang: str) -> tuple:
    import sacremoses  # training does not need it, and importing it takes half a second

    return sacremoses.MosesPunctNormalizer(lang), sacremoses.MosesTokenizer(lang)


class Detokenizer:
    """Moses detokenisation.

    Args:
        moses: the language of Moses's rules; None: lines are left as they are.
    """

    def __init__(self, moses: Optional[str]):
        self.moses = None
        if moses is not None:
            import sacremoses

            self.moses = sacremoses.MosesDetokenizer(moses)

    def __call__(self, line: str) -> str:
        """Plain text from a line of tokens."""
        return line if self.moses is None else self.moses.detokenize(line.split())
