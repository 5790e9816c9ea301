"""Models, tasks and types of options of fairseq can be copied and pickled."""

import copy
import pickle

import pytest
from fairseq.dataclass.constants import ChoiceEnum, StrEnum
from fairseq.tasks.fairseq_task import StatefulContainer

from fairseq_lrn.compat.copying import patch_copying


class Named(StrEnum):
    """A type of choices of another user directory."""

    one = "a"


class Outer:
    class Inner(StrEnum):
        one = "a"


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


@pytest.mark.parametrize("kind", [StrEnum, Named, Outer.Inner])
@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle])
def test_choices_with_a_name(copied, kind):
    assert copied(kind) is kind
    assert all(copied(choice) is choice for choice in kind)


def test_choices_that_only_look_as_if_they_had_a_name():
    """Two enumerations may have one name; pickle finds the last one."""
    other = StrEnum("Named", {"two": "b"}, module=__name__)
    assert [str(choice) for choice in by_pickle(other)] == ["b"]
