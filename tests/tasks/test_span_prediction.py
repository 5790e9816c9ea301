"""The task span_prediction: samples, long contexts, scores, and data that it refuses."""

from argparse import Namespace

import pytest
from fairseq.tasks import TASK_REGISTRY
from torch import Tensor

from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks import SpanPredictionTask
from fairseq_lrn.tasks.span_prediction import AnswerScores, Reference, SpanPredictionConfig
from labelled_corpus import questions, reviews


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return questions(tmp_path_factory.mktemp("questions"))


def setup(data, **options):
    cfg = SpanPredictionConfig(_name="span_prediction", data=str(data), **options)
    return SpanPredictionTask.setup_task(cfg)


def test_registered_with_fairseq():
    assert TASK_REGISTRY["span_prediction"] is SpanPredictionTask


def test_a_batch(data):
    task = setup(data)
    assert task.labels == [] and task.num_inputs == 2
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[index] for index in range(12)])
    assert batch["target"].shape == (12, 2)
    question, context = (batch["net_input"][f"{name}_tokens"][4] for name in ("src", "other"))
    words = task.dictionary.string(question).split()
    assert words[:2] == ["Where", "does"] and "?" in words
    first, last = batch["target"][4].tolist()
    answer = task.dictionary.string(context[first : last + 1])
    assert answer.replace(" .", ".") == batch["references"][4].answers[0]
    characters = batch["net_input"]["other_characters"]
    assert characters.shape[:2] == batch["net_input"]["other_tokens"].shape
    # Questions about the same context have the same context.
    assert batch["net_input"]["other_tokens"][3].equal(batch["net_input"]["other_tokens"][5])


def test_right_answers_have_full_marks(data):
    task = setup(data)
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[index] for index in range(12)])
    right = [tuple(span) for span in batch["target"].tolist()]
    assert task.score(batch["references"], right) == AnswerScores(12, 12.0)
    assert task.score(batch["references"], 12 * [(0, 0)]) == AnswerScores(0, 0.0)


def test_references_have_no_tensors(data):
    """Data-loader workers send each tensor through a file of its own."""
    task = setup(data)
    task.load_dataset("valid")
    references = task.dataset("valid").references
    assert not any(isinstance(one.places, Tensor) for one in references)
    assert references[3].places is references[5].places  # of the same context


def test_text_of_a_reference():
    reference = Reference("a  bc\nd", [0, 1, 3, 5, 6, 7], ["x"])
    assert reference.text(0, 0) == "a" and reference.text(1, 2) == "bc\nd"


def test_long_contexts_are_left_out_of_training_alone(data):
    task = setup(data, max_context_words=16)
    task.load_dataset("train", data_selector=None)
    dataset = task.dataset("train")
    assert 0 < len(dataset) < 60 and dataset.references is None
    assert all(len(dataset[index]["words"][1]) <= 16 for index in range(len(dataset)))
    # The answers still belong to their contexts.
    for index in range(len(dataset)):
        first, last = dataset[index]["label"].tolist()
        answer = task.dictionary.string(dataset[index]["words"][1][first : last + 1])
        assert answer.split()[0] in {"Paris", "Rome", "New", "Oslo", "Rio", "Bonn", "St", "Lima"}
    task.load_dataset("valid")
    assert len(task.dataset("valid")) == 12
    with pytest.raises(InputError, match="has at most 2 words: give a larger --max-context-words"):
        setup(data, max_context_words=2).load_dataset("train", data_selector=None)


def test_training_data_may_be_validated_too(data):
    task = setup(data, max_context_words=16)
    task.load_dataset("train")
    task.load_dataset("train", data_selector=None)
    trained, whole = task.dataset("train"), task.evaluated["train"]
    assert trained.references is None
    assert 0 < len(trained) < len(whole) == len(whole.references)
    for reference, label in zip(whole.references, whole.labels.tolist()):
        assert reference.text(*label) in reference.answers


@pytest.mark.parametrize("option", ["max_context_words", "max_answer_distance"])
def test_bad_options(data, option):
    with pytest.raises(InputError, match=f"--{option.replace('_', '-')} must be at least 0"):
        setup(data, **{option: -1})


def test_data_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="--kind text, but --task span_prediction needs"):
        setup(reviews(tmp_path))


@pytest.mark.parametrize("name", ["label", "squad", "input0"])
def test_data_that_do_not_belong_together(tmp_path, name):
    data = questions(tmp_path)
    for path in (data / name).glob("train.*"):
        path.replace(path.with_name(path.name.replace("train", "valid")))
    with pytest.raises(InputError, match="valid, do not belong to its texts: prepare"):
        setup(data).load_dataset("valid")


def test_a_model_without_spans(data):
    with pytest.raises(InputError, match="--task span_prediction needs --arch lrn_reader"):
        setup(data).build_model(Namespace(arch="lrn_pair_classifier"))
