"""The task stateful_language_modeling: texts, carried states, evaluation."""

from types import SimpleNamespace

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks import TASK_REGISTRY
from fairseq.trainer import Trainer

from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks import StatefulLanguageModelingTask
from fairseq_lrn.tasks.stateful_language_modeling import StatefulLanguageModelingConfig
from text_corpus import binarised_text, preprocess


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Binarised training and validation text of eight words."""
    return binarised_text(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def build_task(data):
    def build(**options):
        cfg = StatefulLanguageModelingConfig(data=str(data))
        for name, value in {"dataset_impl": None, **options}.items():
            setattr(cfg, name, value)
        return StatefulLanguageModelingTask.setup_task(cfg)

    return build


# What fairseq's trainer adds where it asks for batches to train on.
TRAINING = {"grouped_shuffling": False}


def batches(task, is_training=False, **options):
    task.load_dataset("valid")
    if is_training:
        options.update(TRAINING)
    return task.get_batch_iterator(task.dataset("valid"), **options).next_epoch_itr()


def test_registered_with_fairseq():
    assert TASK_REGISTRY["stateful_language_modeling"] is StatefulLanguageModelingTask


def test_text_ends_each_line(build_task, data):
    task = build_task()
    task.load_dataset("valid")
    text = (data.parent / "valid.txt").read_text()
    expected = [word for line in text.splitlines() for word in [*line.split(), "</s>"]]
    assert [task.dictionary[token] for token in task.dataset("valid").tokens] == expected


def test_columns_in_training_one_column_in_evaluation(build_task):
    task = build_task(tokens_per_sample=5, eval_tokens_per_sample=11)
    shapes = [tuple(b["target"].shape) for b in batches(task, True, max_sentences=3)]
    assert set(shapes[:-1]) == {(3, 5)}
    for columns in (None, 1, 8):
        shapes = [tuple(b["target"].shape) for b in batches(task, max_sentences=columns)]
        assert set(shapes[:-1]) == {(1, 11)}


def test_validation_on_the_training_text(build_task, data):
    """``--valid-subset valid,train``: one column, although the trainer loads it for training."""
    given = [str(data), "--task", "stateful_language_modeling", "--arch", "lrn_lm"]
    given += ["--decoder-embed-dim", "4", "--decoder-hidden-size", "4", "--batch-size", "3"]
    given += ["--optimizer", "torch_adam", "--lr", "0.1", "--cpu", "--num-workers", "0"]
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), given)
    )
    task = build_task()
    trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    task.load_dataset("train", combine=False, epoch=1)
    columns = [
        iterator.first_batch["target"].size(0)
        for iterator in (
            trainer.get_valid_iterator("train"),
            trainer.get_train_iterator(1),
            trainer.get_valid_iterator("train"),
            trainer.get_train_iterator(2, load_dataset=False),
        )
    ]
    assert columns == [1, 3, 1, 3]


def test_each_epoch_has_its_own_segments(build_task):
    task = build_task(tokens_per_sample=6, vary_segments=True, max_segment_excess=3)
    task.load_dataset("train")
    given = {"max_sentences": 2, "seed": 3, **TRAINING}
    iterator = task.get_batch_iterator(task.dataset("train"), **given)
    epochs = []
    for _ in range(2):
        epochs.append([batch["target"].size(1) for batch in iterator.next_epoch_itr()])
    assert sum(epochs[0]) == sum(epochs[1]) and epochs[0] != epochs[1]
    again = task.get_batch_iterator(task.dataset("train"), epoch=2, **given)
    assert [batch["target"].size(1) for batch in again.next_epoch_itr()] == epochs[1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sample_break_mode": "eos"}, "--sample-break-mode eos does not apply"),
        ({"add_bos_token": True}, "--add-bos-token True does not apply"),
        ({"tokens_per_sample": 0}, "--tokens-per-sample must be at least 1"),
        ({"max_segment_excess": -1}, "--max-segment-excess must be at least 0"),
    ],
)
def test_options_that_do_not_apply(build_task, options, message):
    with pytest.raises(InputError, match=message):
        build_task(**options)


def test_options_without_effect(build_task, caplog):
    build_task(max_segment_excess=20)
    assert "--max-segment-excess 20 has no effect without --vary-segments" in caplog.messages
    caplog.clear()
    build_task()
    build_task(max_segment_excess=20, vary_segments=True)
    assert "has no effect" not in caplog.text


def test_training_needs_a_number_of_columns(build_task):
    with pytest.raises(InputError, match="needs --batch-size, the number of columns"):
        batches(build_task(), True)


def test_training_refuses_a_number_of_tokens(build_task):
    task = build_task()
    task.load_dataset("train")
    limits = {"max_tokens": 4096, "max_sentences": 3}
    with pytest.raises(InputError, match="--max-tokens 4096 does not limit the batches"):
        task.get_batch_iterator(task.dataset("train"), **limits, **TRAINING)
    task.load_dataset("valid")
    assert task.get_batch_iterator(task.dataset("valid"), **limits).first_batch


def test_context_window(build_task):
    task = build_task()
    task.load_dataset("valid")
    with pytest.raises(InputError, match="--context-window does not apply"):
        task.eval_lm_dataloader(task.dataset("valid"), context_window=3)


def test_missing_and_foreign_data(build_task):
    task = build_task()
    with pytest.raises(FileNotFoundError, match="Dataset not found: nothing"):
        task.load_dataset("nothing")
    del task.dictionary.symbols[6:]
    with pytest.raises(InputError, match="the dictionary has 6 entries: it belongs to other data"):
        task.load_dataset("valid")


def test_data_of_another_kind(build_task, tmp_path):
    for name in ("dict.en.txt", "dict.de.txt"):  # of parallel data
        (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "dict.en.txt"):
        with pytest.raises(InputError, match=f"{path} has no dict.txt, .*fairseq-lrn prepare-lm"):
            build_task(data=str(path))


def test_empty_text(build_task, tmp_path, data):
    (tmp_path / "valid.txt").write_text("")
    preprocess(
        *("--srcdict", data / "dict.txt", "--validpref", tmp_path / "valid.txt"),
        *("--destdir", tmp_path / "bin"),
    )
    with pytest.raises(InputError, match="is empty: prepare the data again"):
        build_task(data=str(tmp_path / "bin")).load_dataset("valid")


@pytest.mark.parametrize("word", ["<s>", "<pad>"])
def test_symbols_that_are_never_predicted(build_task, tmp_path, data, word):
    (tmp_path / "valid.txt").write_text(f"a b\nc {word}\n")
    preprocess(
        *("--srcdict", data / "dict.txt", "--validpref", tmp_path / "valid.txt"),
        *("--destdir", tmp_path / "bin"),
    )
    with pytest.raises(InputError, match=f"has the symbol {word}, which a language model does not"):
        build_task(data=str(tmp_path / "bin")).load_dataset("valid")


def test_models_without_a_state(build_task, monkeypatch):
    task = build_task()
    build = "fairseq.tasks.language_modeling.LanguageModelingTask.build_model"
    monkeypatch.setattr(build, lambda *_: torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="needs a model that carries its state, .* not Linear"):
        task.build_model(SimpleNamespace())


def test_learning_rate_with_update_freq(build_task, monkeypatch):
    """The gradients of several segments are added: their mean length scales the rate."""
    parent = "fairseq.tasks.fairseq_task.FairseqTask."
    rates = []
    monkeypatch.setattr(parent + "train_step", lambda *_: None)
    monkeypatch.setattr(parent + "optimizer_step", lambda self, opt, *_: rates.append(opt.lr))
    decoder = SimpleNamespace(carry_states=None, carried_states=lambda: [])
    model = torch.nn.Module()
    model.decoder = decoder
    optimizer = SimpleNamespace(lr=8.0, get_lr=lambda: optimizer.lr)
    optimizer.set_lr = lambda lr: setattr(optimizer, "lr", lr)
    task = build_task(scale_lr_by_length=True, tokens_per_sample=4)
    for update, lengths in enumerate([(4, 2), (6,), (1, 2, 3)]):
        for length in lengths:
            net_input = {"src_tokens": torch.zeros(2, length), "is_continued": False}
            task.train_step({"net_input": net_input}, model, None, optimizer, update)
        task.optimizer_step(optimizer, model, update)
    assert rates == [6.0, 12.0, 4.0] and optimizer.lr == 8.0


def test_only_prompts_are_continued(build_task):
    task = build_task()
    (segment, *_) = batches(task)
    with pytest.raises(InputError, match="use fairseq-lrn generate, or give --task language_mod"):
        task.inference_step(None, [], segment)
    prompts = task.build_dataset_for_inference([torch.tensor([4, 5])], [2])
    iterator = task.get_batch_iterator(prompts, max_sentences=1).next_epoch_itr()
    assert [batch["net_input"]["src_tokens"].tolist() for batch in iterator] == [[[2, 4, 5]]]


def test_resuming_inside_of_an_epoch(build_task):
    """Only if the text is cut as before."""

    def iterator(**options):
        task = build_task(**{"tokens_per_sample": 5, **options})
        task.load_dataset("train")
        return task.get_batch_iterator(task.dataset("train"), max_sentences=2, seed=3, **TRAINING)

    before = iterator()
    before.carried.now = [torch.zeros(1, 2, 4)]
    epoch = before.next_epoch_itr()
    next(epoch)
    state = before.state_dict()
    assert state["iterations_in_epoch"] == 1
    iterator().load_state_dict(state)
    with pytest.raises(InputError, match="length=5, .* before, .*length=6, .*now.*: keep --tokens"):
        iterator(tokens_per_sample=6).load_state_dict(state)
    with pytest.raises(InputError, match="inside of an epoch of another task"):
        iterator().load_state_dict({**state, "carried": []})
    del state["segments"]  # of an earlier version
    iterator().load_state_dict(state)
