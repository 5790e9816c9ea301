"""Between raw text and a model's subwords, by the steps of ``fairseq-lrn prepare``."""

import os
import re
from typing import List, Optional, Set

from fairseq.data import Dictionary

from fairseq_lrn.data.bpe import load_bpe, restrict
from fairseq_lrn.data.text_files import PARALLEL, SENTENCEPIECE_MODEL, moses_rules
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Detokenizer, Tokenizer
from fairseq_lrn.errors import InputError

WHOLE_TEXT = ", or the whole text to the translator itself, translate(text)"
SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-8 cannot hold them


def _vocabulary(directory: str, lang: str) -> Set[str]:
    return set(Dictionary.load(os.path.join(directory, f"dict.{lang}.txt")).symbols)


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
        PARALLEL.check_complete(directory)
        record = PARALLEL.read(directory)
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
        self.tokenize_target = Tokenizer(rules[self.target_lang], self.lowercase)
        self.detokenize = Detokenizer(rules[self.target_lang])
        self.bpe = self.target_bpe = load_bpe(os.path.join(directory, SENTENCEPIECE_MODEL))
        if record.get("vocab_threshold", 0) > 0:
            self.bpe = restrict(self.bpe, _vocabulary(directory, self.source_lang))
            self.target_bpe = restrict(self.target_bpe, _vocabulary(directory, self.target_lang))

    def subwords(self, line: str, name: str = "the sentence") -> List[str]:
        """The subwords of a line of raw source text.

        Args:
            line: the text.
            name: what to call it in error messages.

        Raises:
            InputError: *line* is not a string, has a line break between words, or has characters
                that UTF-8 cannot hold.
        """
        check_line(line, name, WHOLE_TEXT)
        return self.bpe.encode(self.tokenize(line), out_type=str)

    def target_subwords(self, line: str, name: str = "the translation") -> List[str]:
        """The subwords of a line of raw target text; see :meth:`subwords`."""
        check_line(line, name, WHOLE_TEXT)
        return self.target_bpe.encode(self.tokenize_target(line), out_type=str)

    def text(self, subwords: str) -> str:
        """Raw target text from subwords that are separated by spaces."""
        text = "".join(subwords.split()).replace(SENTENCEPIECE_SPACE, " ")
        return self.detokenize(" ".join(text.split()))


def check_line(line: str, name: str, alternative: str = "") -> None:
    """Refuse what is not one line of text.

    Args:
        line: the text.
        name: what to call it in error messages.
        alternative: what else may be done with several lines.

    Raises:
        InputError: see :meth:`RawText.subwords`.
    """
    check_text(line, name)
    if "\n" in line.strip():
        raise InputError(
            f"{name} has several lines: give each line as a sentence of its own{alternative}"
        )


def check_text(text: str, name: str) -> None:
    """Refuse what is not text, of one or several lines.

    Args:
        text: the text.
        name: what to call it in error messages.

    Raises:
        InputError: *text* is not a string, or has characters that UTF-8 cannot hold.
    """
    if not isinstance(text, str):
        remedy = ": decode it first" if isinstance(text, (bytes, bytearray)) else ""
        raise InputError(f"{name} must be a string, not {type(text).__name__}{remedy}")
    surrogate = SURROGATE.search(text)
    if surrogate:
        raise InputError(
            f"{name} has the code point U+{ord(surrogate.group()):X}, which is not a character "
            f"(position {surrogate.start()}): read the text with its right encoding, or replace "
            'it, text.encode("utf-8", "replace").decode()'
        )
