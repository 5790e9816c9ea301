"""What the tasks of labelled text share: characters on demand, texts without labels."""

import logging
from unittest.mock import patch

import pytest
import torch
from fairseq.criterions import (
    CRITERION_DATACLASS_REGISTRY,
    CRITERION_REGISTRY,
    FairseqCriterion,
)
from fairseq.criterions.sentence_prediction import SentencePredictionConfig
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from omegaconf import OmegaConf

from fairseq_lrn.data.labelled_dataset import TextInput
from fairseq_lrn.errors import InputError
from fairseq_lrn.models.classification.classifier import LRNClassifierConfig
from fairseq_lrn.tasks import TextClassificationTask
from fairseq_lrn.tasks.text_classification import TextClassificationConfig
from labelled_corpus import reviews
from labelled_tasks import dictionary_of

SMALL = {"word_embed_dim": 6, "hidden_size": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews(tmp_path_factory.mktemp("reviews"))


@pytest.fixture
def task(data):
    return TextClassificationTask.setup_task(TextClassificationConfig(data=str(data)))


def build_criterion(task, name, **given):
    config = CRITERION_DATACLASS_REGISTRY.get(name, FairseqDataclass)(_name=name, **given)
    options = OmegaConf.create({"optimization": {"sentence_avg": False}, "criterion": config})
    return task.build_criterion(options.criterion)


def model_options(**options):
    return OmegaConf.structured(
        LRNClassifierConfig(_name="lrn_classifier", **SMALL, **options),
        parent=OmegaConf.create({}),
    )


@pytest.mark.parametrize("kind", ["none", "max"])
def test_characters_are_read_only_if_the_model_does(task, kind):
    model = task.build_model(model_options(character_encoder=kind)).eval()
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[0]])
    assert ("src_characters" in batch["net_input"]) == (kind == "max")
    logits, _ = model(**batch["net_input"], classification_head_name="sentence_classification_head")
    assert logits.shape == (1, 2)


def test_vectors_that_the_model_does_not_read(task, data, caplog):
    caplog.set_level(logging.WARNING)
    task.build_model(model_options())
    assert not caplog.records
    path = data / "vectors.txt"
    path.write_text("fine " + " ".join(6 * ["1"]) + "\n")
    try:
        task.build_model(model_options(), from_checkpoint=True)
        task.build_model(model_options(word_vectors=str(path)))
        assert not caplog.records
        task.build_model(model_options())
        assert f"give --word-vectors {path}" in caplog.text
    finally:
        path.unlink()


def test_from_a_checkpoint_no_vectors_are_read(task, data):
    path = data.parent / "vectors.txt"
    path.write_text("fine " + " ".join(6 * ["1"]) + "\n")
    options = {"word_vectors": str(path), "freeze_word_vectors": True, "tuned_word_vectors": 1}
    model = task.build_model(model_options(**options))
    path.unlink()
    again = task.build_model(model_options(**options), from_checkpoint=True)
    again.load_state_dict(model.state_dict())
    tokens = torch.arange(len(task.dictionary)).unsqueeze(0)
    assert torch.equal(model.input.words(tokens), again.input.words(tokens))


def test_all_texts_are_in_batches(task):
    """fairseq-fixed would leave out the two texts, which are fewer than 8."""
    task.build_model(model_options())
    task.load_dataset("valid")
    iterator = task.get_batch_iterator(
        task.dataset("valid"), max_sentences=1, required_batch_size_multiple=8
    )
    batches = list(iterator.next_epoch_itr())
    assert sorted(int(batch["id"]) for batch in batches) == [0, 1]


def test_an_empty_batch(task):
    """With several processes, fairseq-validate gives it to those that have no batch left."""
    model = task.build_model(model_options())
    criterion = build_criterion(task, "sentence_prediction")
    task.load_dataset("valid")
    shards = []
    for shard in range(2):
        iterator = task.get_batch_iterator(
            task.dataset("valid"),
            max_sentences=2,
            num_shards=2,
            shard_id=shard,
            disable_iterator_cache=True,
        )
        shards.append(list(iterator.next_epoch_itr(shuffle=False)))
    logs = [task.valid_step(batch, model, criterion)[2] for (batch,) in shards]
    assert logs[1] == {}
    with metrics.aggregate(new_root=True) as found:
        task.reduce_metrics(logs, criterion)
    assert found.get_smoothed_values()["accuracy"] in (0, 50, 100)


@pytest.mark.parametrize("name", ["cross_entropy", "sequence_tagging", "span_prediction"])
def test_a_criterion_for_other_tasks(task, name):
    message = f"--criterion {name} does not fit .* give --criterion sentence_prediction"
    with pytest.raises(InputError, match=message):
        build_criterion(task, name)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"regression_target": True}, "--regression-target does not apply"),
        ({"classification_head_name": "x"}, "--classification-head-name x does not apply"),
        ({"report_acc_and_f1": True}, r"--report-acc-and-f1 needs the labels 0 and 1.*bad, good"),
        ({"report_mcc": True}, "--report-mcc needs numbers as labels"),
        ({"report_pearson_and_spearman": True}, "--report-pearson-and-spearman needs numbers"),
    ],
)
def test_options_of_the_criterion(task, options, message):
    """They would fail after the first epoch."""
    if not options.keys() <= SentencePredictionConfig.__dataclass_fields__.keys():
        pytest.skip("fairseq 0.12.2 does not have this option")
    with pytest.raises(InputError, match=message):
        build_criterion(task, "sentence_prediction", **options)
    task.label_dictionary = dictionary_of(["0", "1"])
    if message.startswith("--report"):
        assert build_criterion(task, "sentence_prediction", **options)


def test_a_criterion_of_another_package(task):
    class Own(FairseqCriterion):
        @classmethod
        def build_criterion(cls, cfg, task):
            return cls(task)

    with patch.dict(CRITERION_REGISTRY, {"own": Own}):
        assert isinstance(build_criterion(task, "own"), Own)


def test_texts_without_labels(task):
    task.build_model(model_options())
    dataset = task.build_dataset([TextInput([torch.tensor([5, 6]), torch.tensor([4])])])
    assert dataset.ordered_indices().tolist() == [1, 0]
    assert "target" not in dataset.collater([dataset[0], dataset[1]])
