"""One policy for each language."""

import pytest

from fairseq_lrn.data.languages import (
    ALIASES,
    MOSES_LANGUAGES,
    POLICIES,
    base,
    bleu_tokenizer,
    check_code,
    policy,
)
from fairseq_lrn.data.tokenization import Detokenizer, Tokenizer
from fairseq_lrn.errors import InputError


@pytest.mark.parametrize(
    "lang, expected",
    [
        ("en-GB", "en"),
        ("pt_BR", "pt"),
        ("zh_Hant", "zh"),
        ("zho_Hans", "zh"),
        ("yue", "zh"),
        ("DE", "de"),
        ("jpn", "ja"),
        ("en.txt", "en"),
        ("uk", "uk"),
        ("source", "source"),
        ("", ""),
    ],
)
def test_region_script_and_other_codes(lang, expected):
    assert base(lang) == expected


@pytest.mark.parametrize(
    "lang, moses, by_characters",
    [
        ("de", "de", False),
        ("pt-BR", "pt", False),
        ("zh-CN", None, True),
        ("my", None, True),
        ("ko", None, False),
        ("uk", None, False),
    ],
)
def test_policies(lang, moses, by_characters):
    found = policy(lang, "moses")
    assert (found.moses, found.characters_per_word is not None) == (moses, by_characters)
    without = policy(lang, "none")
    assert without.moses is None
    assert (without.characters_per_word, without.bleu) == (found.characters_per_word, found.bleu)


def test_length():
    assert policy("en", "moses").length(" two  words ") == 2
    assert policy("zh", "moses").length("好") == 1
    assert policy("zh", "moses").length("我们 走吧。") == 3
    assert policy("th", "moses").length("") == 0


def test_moses_has_lists_for_its_languages():
    from sacremoses.corpus import NonbreakingPrefixes
    from sacremoses.tokenize import MosesTokenizer

    known = NonbreakingPrefixes().available_langs
    assert set(MOSES_LANGUAGES) <= known.keys()
    assert MosesTokenizer("cs").NONBREAKING_PREFIXES != MosesTokenizer("en").NONBREAKING_PREFIXES
    assert set(ALIASES.values()) <= POLICIES.keys() and not ALIASES.keys() & POLICIES.keys()


@pytest.mark.parametrize(
    "lang, line",
    [("th", "ฉันกำลังอ่านหนังสือ"), ("my", "ကျွန်တော် စာဖတ်တယ်"), ("km", "ខ្ញុំអានសៀវភៅ"), ("bn", "র‍্যাব"),
     ("uk", "комп'ютери"), ("ca", "L'home col·labora"), ("fa", "می‌خواهم")],
)  # fmt: skip
def test_languages_that_moses_tears_apart(lang, line):
    """They come back as they were, which they would not with Moses."""
    rules = policy(lang, "moses").moses
    assert Detokenizer(rules)(Tokenizer(rules, lowercase=False)(line)) == line
    assert Detokenizer(lang)(Tokenizer(lang, lowercase=False)(line)) != line


@pytest.mark.parametrize(
    "lang, tokenizer",
    [("de", "13a"), ("zh_TW", "zh"), ("th", "char"), ("km", "char"), ("unknown", "13a")],
)
def test_bleu(lang, tokenizer):
    assert bleu_tokenizer(lang) == tokenizer


@pytest.mark.parametrize("lang, name", [("ja", "ja-mecab"), ("ko-KR", "ko-mecab")])
def test_bleu_that_needs_packages(lang, name, monkeypatch, caplog):
    import sacrebleu.metrics

    monkeypatch.setattr(sacrebleu.metrics, "BLEU", lambda tokenize: None)
    assert bleu_tokenizer(lang) == name

    def missing(tokenize):
        raise RuntimeError("needs extra dependencies")

    monkeypatch.setattr(sacrebleu.metrics, "BLEU", missing)
    with caplog.at_level("INFO"):
        assert bleu_tokenizer(lang) == "char"
    assert f"{name} is not installed (pip install 'sacrebleu[{lang[:2]}]')" in caplog.text


@pytest.mark.parametrize("code", ["", "a/b", "a b", "a,b"])
def test_codes_that_are_no_part_of_a_file_name(code):
    with pytest.raises(InputError, match=f"--target-lang '{code}' is not .*such as en or zh-CN"):
        check_code("--target-lang", code)
    check_code("--target-lang", "zh_Hant-TW")
