"""The value of a checkpoint's metric on the validation set."""

import os
from typing import Any, NamedTuple, Optional

import torch
from fairseq import checkpoint_utils, utils
from fairseq.logging import metrics

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError


class Score(NamedTuple):
    """A checkpoint on the validation set.

    Attributes:
        metric: the metric by which training chose its best checkpoint.
        value: its value.
        maximize: whether larger is better.
    """

    metric: str
    value: float
    maximize: bool


def validate(path: str, data: Optional[str] = None) -> Score:
    """Validate a checkpoint as its training run did, with its task, criterion and metric.

    Args:
        path: a checkpoint.
        data: directory of the binarised data; None: that of the training run.

    Raises:
        InputError: the data are missing, the checkpoint cannot be used without its user directory,
            or validation does not compute the metric of the training run.

    Source: fairseq's ``fairseq_cli/validate.py``, which prints the values and does not return them.
    """
    if data is None:
        data = checkpoints.task_options(checkpoints.load(path)).get("data")
    if data is not None and not all(map(os.path.isdir, checkpoints.split_paths(data))):
        raise InputError(f"{path} needs its data, and {data} is not a directory: give --data DIR")
    try:
        models, cfg, task = checkpoint_utils.load_model_ensemble_and_task(
            [path], {} if data is None else {"data": data}
        )
        subset = cfg.dataset.valid_subset.split(",")[0]
        task.load_dataset(subset, combine=False, epoch=1, task_cfg=cfg.task)
        criterion = task.build_criterion(cfg.criterion).eval()
    except Exception as error:  # fairseq raises many types
        raise InputError(
            f"{path} cannot be validated with the data {data}: {type(error).__name__}: {error}"
        ) from error
    model = models[0].eval()
    batches = _batches(task, model, cfg, subset)
    with metrics.aggregate(new_root=True) as aggregated, torch.no_grad():
        outputs = [task.valid_step(sample, model, criterion)[2] for sample in batches]
        task.reduce_metrics(outputs, criterion)
    values = aggregated.get_smoothed_values()
    metric = cfg.checkpoint.best_checkpoint_metric
    if metric not in values:
        raise InputError(
            f"{path}: validation has no metric {metric} (--best-checkpoint-metric of its training "
            f"run), only {', '.join(sorted(values))}"
        )
    return Score(metric, float(values[metric]), cfg.checkpoint.maximize_best_checkpoint_metric)


def _batches(task: Any, model: Any, cfg: Any, subset: str) -> Any:
    return task.get_batch_iterator(
        dataset=task.dataset(subset),
        max_tokens=cfg.dataset.max_tokens_valid,
        max_sentences=cfg.dataset.batch_size_valid,
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions()),
        ignore_invalid_inputs=cfg.dataset.skip_invalid_size_inputs_valid_test,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
    ).next_epoch_itr(shuffle=False)
