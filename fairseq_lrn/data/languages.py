"""How the text of each language is tokenised, measured and scored: one policy for each language."""

import logging
import math
import re
from dataclasses import dataclass
from typing import Dict, Optional

from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)

MOSES, NONE = "moses", "none"
TOKENIZERS = (MOSES, NONE)
# Text comes back as it was, and BLEU on Multi30k is as high (docs/your_data.md).
DEFAULT_TOKENIZER = NONE


@dataclass(frozen=True)
class Policy:
    """How the text of a language is tokenised, measured and scored.

    Attributes:
        moses: the language of Moses's rules; None: subwords are learned on raw text.
        characters_per_word: about how many characters carry as much as a word of a language that
            writes spaces; None: spaces separate words.
        bleu: sacreBLEU's tokeniser.
    """

    moses: Optional[str] = None
    characters_per_word: Optional[int] = None
    bleu: str = "13a"

    def length(self, line: str) -> int:
        """The number of words in a line, estimated if no spaces separate them."""
        if self.characters_per_word is None:
            return len(line.split())
        return math.ceil(len(line.replace(" ", "")) / self.characters_per_word)

    def __str__(self) -> str:
        tokenizer = f"Moses, rules for {self.moses}" if self.moses else "raw text, no tokenisation"
        if self.characters_per_word is None:
            return f"{tokenizer}; length in words"
        return f"{tokenizer}; length in characters, {self.characters_per_word} for a word"


# The languages for which sacremoses has a list of abbreviations (for others it applies the one for
# English) and restores what it splits. It also has lists for zh and yue, and for languages in which
# it tears words apart, at joiners (as bn gu hi kn ml mni mr or pa ta te) or at elisions (ca ga).
MOSES_LANGUAGES = "cs de el en es et fi fr hu is it lt lv nl pl pt ro ru sk sl sv tdt".split()
POLICIES: Dict[str, Policy] = {
    **{code: Policy(moses=code) for code in MOSES_LANGUAGES},
    # Without spaces between words. The numbers are rough: a pair may differ by --max-ratio.
    "bo": Policy(characters_per_word=5, bleu="char"),
    "dz": Policy(characters_per_word=5, bleu="char"),
    "ja": Policy(characters_per_word=2, bleu="ja-mecab"),
    "km": Policy(characters_per_word=5, bleu="char"),
    "lo": Policy(characters_per_word=4, bleu="char"),
    "my": Policy(characters_per_word=5, bleu="char"),
    "th": Policy(characters_per_word=4, bleu="char"),
    "zh": Policy(characters_per_word=2, bleu="zh"),
    # With spaces, but scored by morphemes.
    "ko": Policy(bleu="ko-mecab"),
}
OTHERS = Policy()

# Further codes in use: ISO 639-2 and 639-3, Chinese languages, and codes of countries.
ALIASES: Dict[str, str] = dict(
    pair.split("=")
    for pair in (
        "bod=bo bur=my ces=cs chi=zh cmn=zh cn=zh cz=cs cze=cs deu=de dut=nl dzo=dz ekk=et "
        "ell=el eng=en est=et fin=fi fra=fr fre=fr ger=de gre=el hak=zh hun=hu ice=is isl=is "
        "ita=it jp=ja jpn=ja khm=km kor=ko kr=ko lao=lo lav=lv lit=lt lvs=lv lzh=zh mya=my "
        "nan=zh nld=nl pol=pl por=pt ron=ro rum=ro rus=ru slk=sk slo=sk slv=sl spa=es swe=sv "
        "tet=tdt tha=th tib=bo wuu=zh yue=zh zho=zh"
    ).split()
)


def base(lang: str) -> str:
    """The language without region and script: ``pt`` for ``pt-BR``, ``zh`` for ``zho_Hant``."""
    code = re.split("[^a-z]", lang.lower())[0]
    return ALIASES.get(code, code)


def policy(lang: str, tokenizer: str) -> Policy:
    """The policy for a language.

    Args:
        lang: code of the language, with or without region and script.
        tokenizer: ``moses`` for Moses where it has rules for the language, or ``none``.
    """
    found = POLICIES.get(base(lang), OTHERS)
    if tokenizer == NONE:
        return Policy(None, found.characters_per_word, found.bleu)
    return found


def bleu_tokenizer(lang: str) -> str:
    """The name of sacreBLEU's tokeniser for a language.

    Without the packages of a tokeniser that needs some, BLEU is of characters.
    """
    name = policy(lang, DEFAULT_TOKENIZER).bleu
    if name.endswith("-mecab") and not _is_available(name):
        logger.info(
            "sacreBLEU's tokeniser %s is not installed (pip install 'sacrebleu[%s]')",
            name, base(lang),
        )  # fmt: skip
        return "char"
    return name


def _is_available(name: str) -> bool:
    from sacrebleu.metrics import BLEU  # takes time to import

    try:
        BLEU(tokenize=name)
    except (KeyError, RuntimeError):  # an older sacreBLEU; missing packages
        return False
    return True


def check_code(option: str, lang: str) -> None:
    """Check that a code can be part of a file name.

    Args:
        option: the option that gives the code.
        lang: the code.

    Raises:
        InputError: it cannot.
    """
    if not lang or any(character in "/," or character.isspace() for character in lang):
        raise InputError(
            f"{option} '{lang}' is not a language code: give the suffix of the language's files, "
            "such as en or zh-CN"
        )
