"""Models, tasks and types of options of fairseq can be copied and pickled."""

import copy
import pickle

import pytest
from fairseq.dataclass.constants import ChoiceEnum
from fairseq.tasks.fairseq_task import StatefulContainer

from fairseq_lrn.compat.copying import patch_copying


def by_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.fixture(autouse=True)
def patched_twice():
    patch_copying()  # applied already


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle])
def test_model_prepared_for_generation(build, copied):
    model = build()
    model.make_generation_fast_()
    with pytest.raises(RuntimeError, match="cannot train"):
        model.train()
    copied(model).train()  # a copy may be trained again


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, by_pickle])
def test_state_of_a_task(copied):
    state = StatefulContainer()
    state.add_factory("counts", dict)
    assert copied(state).counts == {}
    with pytest.raises(AttributeError, match="no factory for attribute missing"):
        _ = copied(state).missing


def test_choices():
    choice = by_pickle(ChoiceEnum(["a", "b"]).b)
    assert choice == "b" and [str(other) for other in type(choice)] == ["a", "b"]
    assert by_pickle(type(choice).__mro__[1]) is type(choice).__mro__[1]
