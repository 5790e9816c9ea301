"""What classifiers and taggers share: batches of similar length, with a bounded number of words."""

import pytest

from fairseq_lrn import load_classifier
from fairseq_lrn.errors import InputError
from labelled_corpus import untrained_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = untrained_model(tmp_path_factory.mktemp("reviews"), "reviews")
    return load_classifier(directory, device="cpu")


def test_batches_of_similar_length(model):
    texts = [["fine"], 600 * ["dull"], ["a", "plot"], 500 * ["dull"]]
    batches = list(model.batches_of([texts], batch_size=2, progress=False))
    assert [indices for indices, _ in batches] == [[0, 2], [3], [1]]  # at most 512 words
    shapes = [tuple(arguments["src_tokens"].shape) for _, arguments in batches]
    assert shapes == [(2, 2), (1, 500), (1, 600)]
    assert all("src_characters" in arguments for _, arguments in batches)
    assert sorted(model.labels) == ["bad", "good"]


def test_bad_batch_size(model):
    with pytest.raises(InputError, match="batch_size must be a whole number above 0, not 1.5"):
        next(model.batches_of([[["fine"]]], batch_size=1.5, progress=None))
