"""fairseq's hub interface with raw text."""

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from fairseq_lrn import LRNModel, load_translator
from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.hub import complete_from_directory
from fairseq_lrn.modules.linear import can_pack
from toy_checkpoints import save_checkpoint

SHORT = {"max_len_a": 0, "max_len_b": 8}


@pytest.fixture(scope="module")
def source(prepared_data):
    return read_lines(str(prepared_data.parent / "train.en"))[:3]


def test_same_translations_as_the_translator(untrained, source):
    model = LRNModel.from_pretrained(str(untrained))
    translations = load_translator(str(untrained))(source, **SHORT)
    # An untrained model may write the beginning of a sentence, which fairseq leaves out.
    expected = [translation.replace("<s>", "") for translation in translations]
    assert model.translate(source, **SHORT) == expected


def test_lines_of_a_text(untrained, source):
    model = LRNModel.from_pretrained(untrained)
    one, two = model.translate(source[:2], **SHORT)
    text = f"{source[0]}\n\n{source[1]}\n"
    assert model.translate(text, **SHORT) == f"{one}\n\n{two}\n"
    assert model.translate(iter([source[1], text]), **SHORT) == [two, f"{one}\n\n{two}\n"]
    assert model.translate("") == "" and model.translate([" ", "\n\n"]) == ["", "\n\n"]
    # A recurrent model reads more than it was trained on.
    assert model.translate("dog " * 2000, **SHORT)


@pytest.mark.parametrize(
    "sentences, message",
    [
        (["a", "b\nc\udcff"], r"sentence 2 has the code point U\+DCFF, which is not a character"),
        ([3], "sentence 1 must be a string, not int"),
        (b"a", "give a list of sentences, not bytes"),
    ],
)
def test_wrong_sentences(untrained, sentences, message):
    with pytest.raises(InputError, match=message):
        LRNModel.from_pretrained(untrained).translate(sentences)


def test_wrong_options(untrained):
    model = LRNModel.from_pretrained(untrained, Path("checkpoint_best.pt"))
    with pytest.raises(InputError, match="beams is not a generation option of fairseq"):
        model.translate("a", beams=3)
    with pytest.raises(InputError, match="nbest has no effect here"):
        model.translate("a", nbest=3)
    with pytest.raises(InputError, match="lm_path has no effect with --task translation: call"):
        model.translate("a", lm_path="no.pt", lm_weight=0.5)
    assert model.translate("a", skip_invalid_size_inputs=True, **SHORT) == model.translate(
        "a", **SHORT
    )


def test_directory_with_a_colon(untrained, tmp_path, source):
    """fairseq splits paths there."""
    directory = tmp_path / "2026-11-28_10:30:00"
    shutil.copytree(untrained, directory)
    model = LRNModel.from_pretrained(directory)
    expected = LRNModel.from_pretrained(untrained).translate(source, **SHORT)
    assert model.translate(source, **SHORT) == expected
    assert model.task.cfg.data == str(directory)


def test_copies(untrained, source):
    model = LRNModel.from_pretrained(untrained)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.translate(source, **SHORT) == model.translate(source, **SHORT)
        packed = copied.models[0].decoder.output_projection.has_packed_copy()
        assert packed == can_pack(torch.float32)


def test_opposite_direction(prepared_data, tmp_path):
    """A model from de to en, on data that were prepared from en to de."""
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data, "-s", "de", "-t", "en")
    model = LRNModel.from_pretrained(str(tmp_path))
    assert (model.bpe.raw.source_lang, model.bpe.raw.target_lang) == ("de", "en")
    assert (model.task.cfg.source_lang, model.task.cfg.target_lang) == ("de", "en")


def test_options_of_fairseq_take_precedence(untrained):
    name, options = complete_from_directory(str(untrained), None, {"bpe": "characters"})
    assert (name, options) == ("checkpoint_best.pt", {"bpe": "characters"})


def test_directory_without_the_files_of_raw_text(tmp_path):
    (tmp_path / "checkpoint_last.pt").touch()
    assert complete_from_directory(str(tmp_path), None, {}) == ("checkpoint_last.pt", {})


def test_directory_without_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match="has no averaged.pt, checkpoint_best.pt or"):
        LRNModel.from_pretrained(str(tmp_path))


def test_limits_of_the_training_run(untrained):
    """Batches have a limit of their own, and translations none."""
    model = LRNModel.from_pretrained(untrained)
    assert model.cfg.dataset.max_tokens is None and model.cfg.dataset.batch_size > 0
    assert model.models[0].max_decoder_positions() > 10**6
