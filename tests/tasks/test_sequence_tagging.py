"""The task sequence_tagging: tags, and counting entities."""

import pytest
from fairseq.tasks import TASK_REGISTRY

from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks import SequenceTaggingTask
from fairseq_lrn.tasks.sequence_tagging import SequenceTaggingConfig
from labelled_corpus import reviews, tagged


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tagged(tmp_path_factory.mktemp("tagged"))


@pytest.fixture
def task(data):
    return SequenceTaggingTask.setup_task(SequenceTaggingConfig(data=str(data)))


def test_registered_with_fairseq():
    assert TASK_REGISTRY["sequence_tagging"] is SequenceTaggingTask


def test_tags_are_iobes(task):
    kinds = {f"{part}-{kind}" for part in "BIES" for kind in ("LOC", "PER")}
    assert set(task.tags) == {"O", *kinds}
    task.load_dataset("valid")
    sample = task.dataset("valid")[0]
    assert [task.tags[tag] for tag in sample["label"]] == ["B-PER", "E-PER", "O", "S-LOC"]


def test_what_may_follow(task):
    starts, follows, ends = task.allowed_transitions()
    index = task.tags.index
    assert not starts[index("E-PER")] and not ends[index("B-PER")]
    assert follows[index("B-PER")][index("E-PER")] and not follows[index("B-PER")][index("O")]


def test_count_entities(task):
    def numbers(text):
        return [task.tags.index(tag) for tag in text.split()]

    target = [numbers("B-PER E-PER O S-LOC"), numbers("S-PER O")]
    assert task.count_entities(target, target) == (3, 3, 3)
    guess = [numbers("B-PER E-PER O S-PER"), numbers("S-PER S-LOC")]
    assert task.count_entities(target, guess) == (3, 4, 2)
    assert task.count_entities([[]], [[]]) == (0, 0, 0)


def test_data_of_another_kind(tmp_path):
    config = SequenceTaggingConfig(_name="sequence_tagging", data=str(reviews(tmp_path)))
    with pytest.raises(InputError, match="--kind text, but --task sequence_tagging needs"):
        SequenceTaggingTask.setup_task(config)
    (tmp_path / "data" / "prepare_labelled.json").unlink()  # made in another way
    with pytest.raises(InputError, match="are not one for each word"):
        SequenceTaggingTask.setup_task(config).load_dataset("valid")


def test_texts_are_never_cut(data, task):
    """A cut could split an entity."""
    task.load_dataset("train", data_selector=None)
    assert task.dataset("train").max_words is None
