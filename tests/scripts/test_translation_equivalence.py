"""Translations of a model under all conditions, and what a difference looks like."""

import math
import os

import pytest
import torch

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError
from fairseq_lrn.ops import dispatch
from translation_equivalence import (
    Condition,
    Difference,
    ScoredTokens,
    SubsetTranslator,
    compare,
    conditions,
    difference,
)


@pytest.fixture
def translator(checkpoint, data):
    translator = SubsetTranslator(checkpoint, data, "valid", beam=2)
    translator.generation.max_len_b = 6
    return translator


def test_conditions():
    chosen = conditions(["reference", "cpp"])
    assert len({condition.name for condition in chosen}) == len(chosen)
    assert chosen[0] == Condition("fairseq's search, batches of 64 by length")
    assert {condition.backend for condition in chosen} == {"auto", "reference", "cpp"}


def test_batches(translator):
    sizes = translator.dataset.src_sizes
    assert sorted(sum(translator.batches(Condition("", 5)), [])) == list(range(12))
    assert [len(batch) for batch in translator.batches(Condition("", 5))] == [5, 5, 2]
    in_order = [sizes[index] for batch in translator.batches(Condition("", 5)) for index in batch]
    assert in_order == sorted(sizes)
    shuffled = sum(translator.batches(Condition("", order="shuffled")), [])
    assert sorted(shuffled) == list(range(12)) and [sizes[i] for i in shuffled] != in_order
    for batch in translator.batches(Condition("", order="same length")):
        assert len({sizes[index] for index in batch}) == 1


def test_every_condition_agrees(translator):
    rows = list(compare(translator, conditions(["reference"])))
    assert len(rows) == 15 + 2 + 2  # with two rows of whole sentences at once
    for row in rows:
        assert row.sentences == 12 and row.different == 0 and row.log_probability < 1e-4, row


def test_prefix_and_backend(translator, monkeypatch):
    monkeypatch.setenv(dispatch.BACKEND_VARIABLE, "auto")
    found = translator.translate(Condition("", prefix=2, backend="reference"))
    for index, translation in found.items():
        target = translator.dataset[index]["target"]
        assert translation.tokens[:2] == tuple(target[:2].tolist())
    assert os.environ[dispatch.BACKEND_VARIABLE] == "auto"


def test_another_model_differs(translator, checkpoint, data, tmp_path):
    state = checkpoints.load(checkpoint)
    for name, weight in state["model"].items():
        if "embed_tokens" in name or "output_projection" in name:
            weight[4:] = weight[4:].flip(0)
    checkpoints.save(state, str(tmp_path / "other.pt"))
    other = SubsetTranslator(str(tmp_path / "other.pt"), data, "valid", beam=2)
    other.generation.max_len_b = 6
    condition = Condition("")
    result = difference("other", other.translate(condition), translator.translate(condition))
    assert result.sentences == 12 and result.different > 6


def test_difference():
    reference = {
        0: ScoredTokens((5, 2), torch.tensor([-1.0, -2.0])),
        1: ScoredTokens((6, 2), torch.tensor([-1.0, -2.0])),
    }
    found = {
        0: ScoredTokens((5, 2), torch.tensor([-1.0, -2.5])),
        1: ScoredTokens((7, 2), torch.tensor([-9.0, -9.0])),
    }
    assert difference("a", found, reference) == Difference("a", 2, 1, 0.5)
    none_equal = difference("b", {1: found[1]}, {1: reference[1]})
    assert none_equal.different == 1 and math.isnan(none_equal.log_probability)


def test_bad_input(checkpoint, data, tmp_path):
    with pytest.raises(InputError, match="cannot read checkpoint .*absent.pt"):
        SubsetTranslator(str(tmp_path / "absent.pt"), data, "valid", 2)
    with pytest.raises(InputError, match="absent is not a directory: prepare data"):
        SubsetTranslator(checkpoint, str(tmp_path / "absent"), "valid", 2)
    with pytest.raises(InputError, match="has no subset dev"):
        SubsetTranslator(checkpoint, data, "dev", 2)
