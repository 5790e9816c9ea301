"""Learning, loading and applying BPE models."""

import pytest

from fairseq_lrn.data.bpe import encode, learn_bpe, load_bpe, restrict
from fairseq_lrn.errors import InputError
from toy_grammar import generate

TEXTS = tuple(map(list, zip(*generate(200))))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe") / "joint.model"
    learn_bpe(str(path), TEXTS, vocab_size=200)
    return path


def test_one_model_for_all_texts(model):
    bpe = load_bpe(str(model))
    assert bpe.get_piece_size() == 200
    assert [path.name for path in model.parent.iterdir()] == ["joint.model"]
    for lines in TEXTS:
        assert not any(bpe.unk_id() in ids for ids in bpe.encode(lines))


def test_blocks_do_not_matter(model, monkeypatch):
    bpe = load_bpe(str(model))
    whole = list(encode(bpe, TEXTS[0], workers=1))
    monkeypatch.setattr("fairseq_lrn.data.bpe.ENCODED_AT_ONCE", 7)
    assert list(encode(bpe, TEXTS[0], workers=2)) == whole == bpe.encode(TEXTS[0], out_type=str)


def test_restricted_to_some_subwords(model):
    bpe = load_bpe(str(model))
    line = max(TEXTS[0], key=len)
    subwords = bpe.encode(line, out_type=str)
    longest = max(subwords, key=len)
    found = restrict(bpe, set(subwords) - {longest}).encode(line, out_type=str)
    assert longest not in found and "".join(found) == "".join(subwords)


def test_text_that_is_too_small(tmp_path):
    message = "cannot make 5000 subwords from the training text: choose another --vocab-size"
    with pytest.raises(InputError, match=message):
        learn_bpe(str(tmp_path / "joint.model"), [["a few words"]], vocab_size=5000)


def test_missing_or_damaged_model(tmp_path):
    with pytest.raises(InputError, match="absent is missing: copy it again"):
        load_bpe(str(tmp_path / "absent"))
    (tmp_path / "damaged").write_bytes(b"damaged")
    with pytest.raises(InputError, match="damaged is damaged .*: copy it again"):
        load_bpe(str(tmp_path / "damaged"))
