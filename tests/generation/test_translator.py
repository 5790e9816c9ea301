"""Translating raw text, with an untrained model. end_to_end/test_translate.py has a trained one."""

import shutil

import pytest
import torch

from fairseq_lrn import load_translator
from fairseq_lrn.data import text_files
from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import merge
from toy_checkpoints import save_checkpoint

SHORT = {"max_len_a": 0, "max_len_b": 8}  # an untrained model seldom ends a sentence


@pytest.fixture(scope="module")
def translator(untrained):
    return load_translator(str(untrained))


@pytest.fixture(scope="module")
def source(prepared_data):
    return read_lines(str(prepared_data.parent / "train.en"))[:5]


def test_one_or_several_sentences(translator, source):
    texts = translator(source, **SHORT)
    assert len(texts) == 5 and all(isinstance(text, str) for text in texts)
    assert translator(source[3], **SHORT) == texts[3]
    assert translator(source, batch_size=1, **SHORT) == texts
    assert translator([], **SHORT) == []


def test_dictionaries_are_loaded_once(untrained, caplog):
    with caplog.at_level("INFO"):
        load_translator(str(untrained))
    messages = [record.message for record in caplog.records if "dictionary" in record.message]
    assert [message.split()[0] for message in messages] == ["[en]", "[de]"]


def test_stream(translator, source):
    translations = translator.translate_lines(iter(source), buffer_size=2, **SHORT)
    assert [found[0].text for found in translations] == translator(source, **SHORT)


def test_hypotheses(translator, source):
    (translations,) = translator.hypotheses(source[:1], nbest=3, attention=True, **SHORT)
    assert len(translations) == 3
    scores = [translation.score for translation in translations]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    for translation in translations:
        rows, columns = len(translation.words), len(translation.source_words)
        assert translation.source_words == source[0].replace(".", " .").split()
        assert translation.attention.shape == (rows + 1, columns + 1)
        torch.testing.assert_close(translation.attention.sum(1), torch.ones(rows + 1))
        assert len(translation.positional_scores) == rows + 1
        assert [target for _, target in translation.alignment] == list(range(rows))
        assert all(0 <= position < columns for position, _ in translation.alignment)


def test_attention_is_optional(translator, source):
    translation = translator.hypotheses(source[:1], **SHORT)[0][0]
    assert translation.attention is None
    with pytest.raises(InputError, match="ask for attention"):
        _ = translation.alignment


def test_empty_sentence(translator):
    (found,) = translator.hypotheses([" \t\r\n"], attention=True)
    assert [translation.text for translation in found] == [""]
    assert found[0].score == 0.0 and found[0].alignment == []


def test_ensemble(untrained, translator, source):
    path = str(untrained / "checkpoint_best.pt")
    assert load_translator(f"{path}:{path}")(source, **SHORT) == translator(source, **SHORT)


def test_opposite_direction(prepared_data, tmp_path):
    """A model from de to en, on data that were prepared from en to de."""
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data, "-s", "de", "-t", "en")
    translator = load_translator(str(tmp_path))
    assert (translator.raw.source_lang, translator.raw.target_lang) == ("de", "en")
    assert (translator.task.cfg.source_lang, translator.task.cfg.target_lang) == ("de", "en")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam": 0}, "beam must be a whole number above 0, not 0"),
        ({"nbest": 6}, "nbest=6 needs a beam of at least 6, not beam=5"),
        ({"batch_size": "x"}, "batch_size must be a whole number above 0, not 'x'"),
        ({"beams": 5}, "beams is not a generation option of fairseq: choose from beam, "),
        ({"lenpen": "long"}, "invalid generation option: .*long"),
    ],
)
def test_wrong_options(translator, options, message):
    with pytest.raises(InputError, match=message):
        translator.hypotheses(["a"], **options)


def test_wrong_sentences(translator):
    with pytest.raises(InputError, match="give a list of sentences, not one string"):
        translator.hypotheses("a")
    with pytest.raises(InputError, match="sentence 2 must be a string, not int"):
        translator(["a", 3])
    message = r"sentence 2 has \d+ subwords, but the model takes at most 1023: split it \(dog dog"
    with pytest.raises(InputError, match=message):
        translator(["a", "dog " * 2000])
    with pytest.raises(InputError, match="sentence 4 has"):
        list(translator.translate_lines(["a", "b", "c", "dog " * 2000], buffer_size=3, **SHORT))
    with pytest.raises(InputError, match="buffer_size must be at least 1"):
        list(translator.translate_lines(["a"], buffer_size=0))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"checkpoint": "none.pt"}, "cannot read checkpoint .*none.pt"),
        ({"dtype": "int4"}, "dtype must be one of float32, bfloat16, int8, not int4"),
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
        ({"data": "elsewhere"}, "elsewhere lacks prepare.json"),
    ],
)
def test_wrong_options_of_loading(untrained, options, message):
    with pytest.raises(InputError, match=message):
        load_translator(str(untrained), **options)


def test_directory_without_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match="has no averaged.pt, checkpoint_best.pt or checkpoint_l"):
        load_translator(str(tmp_path))


def test_files_of_raw_text(untrained, tmp_path):
    """They are found beside the checkpoint or with the training data, or are given."""
    (tmp_path / "data").mkdir()
    for name in text_files.files(str(untrained)):
        shutil.copy(untrained / name, tmp_path / "data")
    checkpoint = tmp_path / "only" / "checkpoint_best.pt"
    checkpoint.parent.mkdir()
    state = torch.load(untrained / "checkpoint_best.pt")
    state["cfg"]["task"]["data"] = str(tmp_path / "data")
    torch.save(state, checkpoint)
    assert load_translator(str(checkpoint.parent))("") == ""
    state["cfg"]["task"]["data"] = "/nowhere"
    torch.save(state, checkpoint)
    with pytest.raises(InputError, match="there is no prepare.json in .*only and /nowhere"):
        load_translator(str(checkpoint.parent))
    assert load_translator(str(checkpoint), data=str(tmp_path / "data"))("") == ""


def test_attention_of_subwords_becomes_attention_of_words():
    """Two source words of 2 and 1 subwords; two target words of 1 and 2; and both EOS."""
    attention = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.4, 0.0], [0.1, 0.1, 0.2, 0.6], [0.0, 0.0, 0.0, 1.0]]
    )
    expected = torch.tensor([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(merge(attention, [0, 1, 1], [0, 0, 1]), expected)
    # Without words, only EOS is left.
    torch.testing.assert_close(merge(torch.ones(1, 1), [], []), torch.ones(1, 1))
