"""Checksums of dictionaries: a checkpoint belongs to the dictionaries of its training data."""

import pytest
import torch
from fairseq.data import Dictionary
from torch import nn

from fairseq_lrn.errors import DataMismatch
from fairseq_lrn.models.dictionaries import check_dictionaries, remember_dictionaries


def dictionary(*symbols):
    found = Dictionary()
    for count, symbol in enumerate(symbols, 1):
        found.add_symbol(symbol, n=count)
    return found


def model(**dictionaries):
    found = nn.Linear(2, 2)
    remember_dictionaries(found, **dictionaries)
    return found


def test_the_same_symbols():
    """Counts do not matter, and a dictionary that one side does not have is not compared."""
    first, second = dictionary("a", "b"), dictionary("a", "b")
    second.count[-1] = 99
    state = model(word=first, label=None).state_dict()
    other = model(word=second, label=dictionary("x"))
    check_dictionaries(other, state)
    other.load_state_dict(state)


@pytest.mark.parametrize("symbols", [("b", "a"), ("a", "c")])
def test_other_symbols(symbols):
    state = model(word=dictionary("x"), label=dictionary("a", "b")).state_dict()
    message = "another label dictionary than the data, with as many entries: give the data that"
    with pytest.raises(DataMismatch, match=message):
        check_dictionaries(model(word=dictionary("x"), label=dictionary(*symbols)), state)


def test_without_checksums():
    """Older checkpoints have none, and neither has a model that was made without a task."""
    state = nn.Linear(2, 2).state_dict()
    own = model(word=dictionary("a"))
    check_dictionaries(own, state)
    own.load_state_dict(state)
    state = model(word=dictionary("a")).state_dict()
    check_dictionaries(nn.Linear(2, 2), state)
    nn.Linear(2, 2).load_state_dict(state)


def test_half_precision_keeps_the_checksums():
    own = model(word=dictionary("a"))
    before = own.dictionary_checksums.clone()
    assert torch.equal(own.half().dictionary_checksums, before)


def test_a_dictionary_of_another_class():
    """It may have no list of symbols; then it is not compared."""
    state = model(word=object()).state_dict()
    assert state["dictionary_checksums"].tolist() == [0]
    check_dictionaries(model(word=dictionary("a")), state)
