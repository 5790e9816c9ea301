"""The task text_classification: dictionaries, data, and fairseq's criterion."""

import pytest
from fairseq.tasks import TASK_REGISTRY

from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks import TextClassificationTask
from fairseq_lrn.tasks.text_classification import TextClassificationConfig
from labelled_corpus import pairs, reviews, tagged


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews(tmp_path_factory.mktemp("reviews"))


def build(data, **options):
    config = TextClassificationConfig(_name="text_classification", data=str(data), **options)
    return TextClassificationTask.setup_task(config)


def test_registered_with_fairseq():
    assert TASK_REGISTRY["text_classification"] is TextClassificationTask


def test_labels_and_texts(data):
    task = build(data)
    assert sorted(task.labels) == ["bad", "good"] and task.num_inputs == 1
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    lines = (data.parent / "valid.tsv").read_text().splitlines()
    assert len(dataset) == len(lines)
    for index, line in enumerate(lines):
        label, text = line.split("\t")
        sample = dataset[index]
        assert task.labels[int(sample["label"])] == label
        known = [word if word in task.dictionary else "<unk>" for word in text.split()]
        assert [task.dictionary[token] for token in sample["words"][0]] == known
        ends = sample["characters"][0].eq(task.character_dictionary.eos())
        assert int(ends.sum()) == len(text.split())


def test_training_texts_are_cut(data):
    task = build(data, max_words=2)
    task.load_dataset("train", data_selector=None)
    task.load_dataset("valid")
    assert task.dataset("train").sizes.max() == 2 < task.dataset("valid").sizes.max()
    assert task.dataset("train").shuffle and not task.dataset("valid").shuffle


def test_pairs(tmp_path):
    task = build(pairs(tmp_path))
    assert task.num_inputs == 2
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[0]])
    assert {"src_tokens", "other_tokens"} <= batch["net_input"].keys()


def test_no_such_subset(data):
    with pytest.raises(
        FileNotFoundError, match=r"Dataset not found: test \(.*: prepare .* --testpref FILE$"
    ):
        build(data).load_dataset("test")


def test_data_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="--kind tags, but --task text_classification needs"):
        build(tagged(tmp_path))
    (tmp_path / "data" / "prepare_labelled.json").unlink()  # made in another way
    with pytest.raises(InputError, match="are not one for each text"):
        build(tmp_path / "data").load_dataset("valid")


def test_no_data(tmp_path):
    with pytest.raises(InputError, match="is no labelled text: prepare it with"):
        build(tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_words": -1}, "--max-words must be at least 0"),
        ({"max_word_length": 0}, "--max-word-length must be at least 1"),
    ],
)
def test_bad_options(data, options, message):
    with pytest.raises(InputError, match=message):
        build(data, **options)
