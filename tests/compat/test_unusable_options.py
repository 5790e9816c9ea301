"""Options of fairseq that cannot work here fail early, with the option and the remedy."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.data import data_utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed_utils
from omegaconf import OmegaConf

from fairseq_lrn.compat import unusable_options
from fairseq_lrn.compat.unusable_options import check_training_options, patch_unusable_options
from fairseq_lrn.errors import InputError


def configure(criterion="cross_entropy", **options):
    """fairseq's options, with some of them changed."""
    cfg = OmegaConf.structured(FairseqConfig())
    cfg.criterion = {"_name": criterion}
    if hasattr(CRITERION_DATACLASS_REGISTRY[criterion], "autocast"):
        cfg.criterion.autocast = "none"
    for name, value in options.items():
        parts = (cfg.common, cfg.checkpoint, cfg.distributed_training)
        setattr(next(part for part in parts if name in part.keys()), name, value)
    return cfg


def train(cfg):
    raise AssertionError("training starts")


@pytest.fixture(autouse=True)
def cpu(monkeypatch):
    """A machine without GPUs, TPUs and further packages, and fairseq's program for training."""
    patch_unusable_options()  # applied already
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(unusable_options, "_is_installed", lambda package: False)
    monkeypatch.setattr(train, "__module__", "fairseq_cli.train")


PROCESSES = {"distributed_world_size": 2, "distributed_init_method": "file:///x"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"fp16": True}, "--fp16 needs a GPU: .* --autocast bfloat16"),
        ({"bf16": True, "tpu": True}, "--bf16 needs a TPU and torch_xla: .* --autocast bfloat16"),
        ({"tpu": True}, "--tpu needs a TPU and torch_xla"),
        ({"write_checkpoints_asynchronously": True}, "-asynchronously needs iopath: install it"),
        (PROCESSES, "--ddp-backend pytorch_ddp needs GPUs: give --ddp-backend legacy_ddp"),
        ({"distributed_world_size": 2}, "--distributed-world-size 2 is more than the 0 GPUs"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(InputError, match=message):
        distributed_utils.call_main(configure(**options), train)


@pytest.mark.parametrize("option", ["fp16", "tpu"])
def test_remedies_for_losses_without_autocast(option):
    with pytest.raises(InputError, match=f"--{option} needs .* leave it out") as error:
        check_training_options(configure("sentence_prediction", **{option: True}))
    assert "autocast" not in str(error.value)


def test_remedies_for_losses_with_autocast():
    for criterion, remedy in (
        ("span_prediction", "--autocast bfloat16"),
        ("cross_entropy", "--criterion fused_label_smoothed_cross_entropy --autocast bfloat16"),
    ):
        with pytest.raises(InputError, match=f"On a CPU, {remedy} is possible"):
            check_training_options(configure(criterion, fp16=True))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"amp": True},  # fairseq logs that it trains in float32
        {"fp16": True, "memory_efficient_fp16": True},
        {"fp16": True, "fp16_no_flatten_grads": True},
        {"bf16": True},  # fairseq-hydra-train does not turn it into an option for TPUs
        {**PROCESSES, "ddp_backend": "legacy_ddp"},
    ],
)
def test_options_that_may_work(options):
    check_training_options(configure(**options))


@pytest.mark.parametrize("number_type", ["fp16", "bf16"])
def test_torch_adam_needs_float32_parameters(number_type):
    cfg = configure(**{number_type: True, f"memory_efficient_{number_type}": True})
    check_training_options(cfg)
    cfg.optimizer = {"_name": "torch_adam"}
    with pytest.raises(InputError, match=f"--memory-efficient-{number_type}: give --optimizer a"):
        check_training_options(cfg)


def test_warmup_of_a_cosine_schedule(caplog):
    """With as many updates as the warm-up, fairseq fails after the last update."""
    cfg = configure()
    schedule = {"_name": "cosine", "warmup_updates": 500, "lr_period_updates": -1}
    cfg.lr_scheduler = schedule
    for updates, is_refused, is_warned in ((0, 0, 0), (501, 0, 0), (400, 0, 1), (500, 1, 0)):
        caplog.clear()
        cfg.optimization.max_update = updates
        if is_refused:
            with pytest.raises(InputError, match="are both 500: lower --warmup-updates"):
                check_training_options(cfg)
        else:
            check_training_options(cfg)
        assert ("never falls" in caplog.text) == is_warned
    cfg.lr_scheduler = {**schedule, "lr_period_updates": 10}
    check_training_options(cfg)


def test_options_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_training_options(configure(fp16=True, **PROCESSES))
    with pytest.raises(InputError, match="--fp16 needs a GPU"):
        check_training_options(configure(fp16=True, cpu=True))


def test_other_programs_are_not_checked():
    """fairseq-generate can translate in float16 on a CPU."""
    calls = []
    distributed_utils.call_main(configure(fp16=True), calls.append)
    assert len(calls) == 1


def test_program_started_as_a_module(monkeypatch):
    """python -m fairseq_cli.train"""
    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec("fairseq_cli.train", None)
    monkeypatch.setitem(sys.modules, "started", main)
    monkeypatch.setattr(train, "__module__", "started")
    with pytest.raises(InputError, match="--fp16 needs a GPU"):
        distributed_utils.call_main(configure(fp16=True), train)


def test_user_directory_that_is_imported_in_training(monkeypatch):
    """fairseq-hydra-train imports it last, and then calls add_defaults."""
    module = ModuleType("fairseq_cli.train")
    module.add_defaults = lambda cfg: None
    monkeypatch.setitem(sys.modules, module.__name__, module)
    patch_unusable_options()
    with pytest.raises(InputError, match="--fp16 needs a GPU"):
        module.add_defaults(configure(fp16=True))


@pytest.mark.parametrize("name", ["file/below", "file"])
def test_save_directory(tmp_path, name):
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(InputError, match=f"--save-dir {path} cannot be written: .*; choose"):
        checkpoint_utils.verify_checkpoint_directory(str(path))
    checkpoint_utils.verify_checkpoint_directory(str(tmp_path / "new"))


@pytest.mark.parametrize("sizes", [None, numpy.array([3, 9, 5])])
def test_sentences_longer_than_a_batch(sizes):
    indices = numpy.arange(3)

    def batches(max_tokens):
        return data_utils.batch_by_size(indices, [3, 9, 5].__getitem__, sizes, max_tokens, 9, 1)

    message = r"a sentence has 9 tokens, but --max-tokens .* of 8: raise it to 9 or more"
    with pytest.raises(InputError, match=message):
        batches(8)
    assert sorted(index for batch in batches(9) for index in batch) == [0, 1, 2]


def test_other_assertions_are_left_alone(monkeypatch):
    def failing(indices, num_tokens_fn, num_tokens_vec=None, max_tokens=None):
        raise AssertionError("another reason")

    checked = unusable_options._checked_lengths(failing)
    with pytest.raises(AssertionError, match="another reason"):
        checked([0], lambda index: 3, None, 8)


def test_train_is_called():
    """The function of the tests above stands for fairseq's program."""
    with pytest.raises(AssertionError, match="training starts"):
        distributed_utils.call_main(configure(), train)


def test_averaged_weights_in_half_precision(monkeypatch):
    """fairseq's wrapper for float16 would hide the averages from validation."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = configure(fp16=True)
    check_training_options(cfg)
    cfg.optimizer = OmegaConf.create({"_name": "averaged_sgd"})
    with pytest.raises(InputError, match="averages float32 weights, which --fp16 hides from it"):
        check_training_options(cfg)
    cfg.common.fp16, cfg.common.amp = False, True
    with pytest.raises(InputError, match="which --amp hides from it"):
        check_training_options(cfg)
