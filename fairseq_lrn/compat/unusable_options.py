"""fairseq (0.12.2, 0.12.3) accepts options that cannot work, and fails later, in other words.

Without a TPU, ``--bf16`` ends in an AttributeError of None, and without a GPU ``--fp16`` in an
error of torch, both after the data are loaded. Without iopath,
``--write-checkpoints-asynchronously`` trains nothing, and the exit status is 0. The errors for
``--save-dir``, ``--distributed-world-size`` and ``--max-tokens`` name no option.

The patches check the options before fairseq loads data, and raise an error that names the option
and the remedy. What may work is not refused.
"""

import importlib.util
import inspect
import logging
import sys
from typing import Any

import torch

from fairseq_lrn.compat.patching import patch
from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)

AUTOCAST = "--autocast bfloat16"
FUSED_LOSS = "--criterion fused_label_smoothed_cross_entropy"


def check_training_options(cfg: Any) -> None:
    """Refuse options with which training cannot work on this machine.

    Args:
        cfg: all options of fairseq.

    Raises:
        InputError: an option cannot work.
    """
    common = cfg.common
    bfloat16 = _remedy(cfg.criterion)
    if common.tpu and not _is_installed("torch_xla"):
        option = "--bf16" if common.bf16 else "--tpu"
        raise InputError(
            f"{option} needs a TPU and torch_xla: leave it out."
            + (f" For bfloat16, give {bfloat16}." if bfloat16 else "")
            + " On a GPU, --fp16 and --amp are possible"
        )
    on_gpu = torch.cuda.is_available() and not common.cpu
    flattens = not (common.memory_efficient_fp16 or common.fp16_no_flatten_grads)
    if common.fp16 and flattens and not (on_gpu or common.tpu):
        raise InputError(
            "--fp16 needs a GPU: leave it out"
            + (f". On a CPU, {bfloat16} is possible (docs/training.md)" if bfloat16 else "")
        )
    for option, is_given in (
        ("--memory-efficient-fp16", common.memory_efficient_fp16),
        ("--memory-efficient-bf16", common.memory_efficient_bf16),
    ):
        if is_given and getattr(cfg.optimizer, "_name", "") == "torch_adam":
            raise InputError(
                f"--optimizer torch_adam does not work with {option}: give --optimizer adam"
            )
    hiding = {
        "--fp16": common.fp16,
        "--bf16": common.bf16,
        "--amp": common.amp,
        "--use-bmuf": cfg.optimization.use_bmuf,
    }
    if any(hiding.values()) and getattr(cfg.optimizer, "_name", "") == "averaged_sgd":
        option = next(name for name, is_given in hiding.items() if is_given)
        raise InputError(
            f"--optimizer averaged_sgd averages float32 weights, which {option} hides from it: "
            f"leave {option} out; for bfloat16, give {AUTOCAST}"
        )
    if cfg.checkpoint.write_checkpoints_asynchronously and not _is_installed("iopath"):
        raise InputError(
            "--write-checkpoints-asynchronously needs iopath: install it (pip install iopath), or "
            "leave the option out"
        )
    _check_cosine(cfg.lr_scheduler, cfg.optimization.max_update)
    distributed = cfg.distributed_training
    if (
        distributed.distributed_world_size > 1
        and distributed.distributed_init_method is not None
        and distributed.ddp_backend in ("c10d", "pytorch_ddp")
        and not (on_gpu or common.tpu or cfg.optimization.use_bmuf)
    ):
        raise InputError(
            f"--ddp-backend {distributed.ddp_backend} needs GPUs: give --ddp-backend legacy_ddp"
        )


def _check_cosine(schedule: Any, max_update: int) -> None:
    """fairseq divides by the number of updates after the warm-up, before it saves the model."""
    if getattr(schedule, "_name", "") != "cosine" or schedule.lr_period_updates > 0:
        return
    if 0 < max_update == schedule.warmup_updates:
        raise InputError(
            f"--lr-scheduler cosine needs updates after the warm-up, but --warmup-updates and "
            f"--max-update are both {max_update}: lower --warmup-updates"
        )
    if 0 < max_update < schedule.warmup_updates:
        logger.warning(
            "--warmup-updates %d exceeds --max-update %d, so the learning rate never falls: lower "
            "--warmup-updates",
            schedule.warmup_updates,
            max_update,
        )


def _remedy(criterion: Any) -> str:
    """The options for bfloat16 on a CPU; empty where no criterion for the task has one."""
    # omegaconf before 2.1 gives None for an option that does not exist.
    if getattr(criterion, "autocast", None) is not None:
        return AUTOCAST
    predicts_tokens = str(getattr(criterion, "_name", "")).endswith("cross_entropy")
    return f"{FUSED_LOSS} {AUTOCAST}" if predicts_tokens else ""


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def patch_unusable_options() -> None:
    """Let fairseq refuse options that cannot work, before it loads data."""
    from fairseq import checkpoint_utils
    from fairseq.data import data_utils
    from fairseq.distributed import utils as distributed_utils

    patch(distributed_utils, "call_main", _checked_call)
    patch(distributed_utils, "_infer_single_node_init", _checked_world_size)
    patch(checkpoint_utils, "verify_checkpoint_directory", _checked_directory)
    patch(data_utils, "batch_by_size", _checked_lengths)
    # fairseq-hydra-train imports a user directory after call_main.
    if "fairseq_cli.train" in sys.modules:
        patch(sys.modules["fairseq_cli.train"], "add_defaults", _checked_defaults)


def _checked_call(original):
    def call_main(cfg, main, **kwargs):
        name = getattr(main, "__module__", "")
        # With python -m fairseq_cli.train, the module is called __main__.
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if "fairseq_cli.train" in (name, getattr(spec, "name", "")):
            check_training_options(cfg)
        return original(cfg, main, **kwargs)

    return call_main


def _checked_defaults(original):
    def add_defaults(cfg):
        original(cfg)
        check_training_options(cfg)

    return add_defaults


def _checked_world_size(original):
    def _infer_single_node_init(cfg):
        number = torch.cuda.device_count()
        if cfg.distributed_world_size > number:
            raise InputError(
                f"--distributed-world-size {cfg.distributed_world_size} is more than the {number} "
                "GPUs of this machine: lower it. To train on several CPUs or machines, start each "
                "process with --distributed-init-method, --distributed-rank and "
                "--distributed-no-spawn"
            )
        return original(cfg)

    return _infer_single_node_init


def _checked_directory(original):
    def verify_checkpoint_directory(save_dir):
        try:
            return original(save_dir)
        except OSError as error:
            raise InputError(
                f"--save-dir {save_dir} cannot be written: {error.strerror or error}; choose "
                "another directory"
            ) from error

    return verify_checkpoint_directory


def _checked_lengths(original):
    signature = inspect.signature(original)

    def batch_by_size(*args, **kwargs):
        try:
            return original(*args, **kwargs)
        except AssertionError as error:
            given = signature.bind(*args, **kwargs).arguments
            max_tokens, lengths = given.get("max_tokens"), given.get("num_tokens_vec")
            if lengths is None:
                lengths = map(given["num_tokens_fn"], given["indices"])
            longest = max(lengths)
            if max_tokens is None or longest <= max_tokens:
                raise
            raise InputError(
                f"a sentence has {longest} tokens, but --max-tokens (in validation "
                f"--max-tokens-valid) allows batches of {max_tokens}: raise it to {longest} or more"
            ) from error

    return batch_by_size
