"""A model of fairseq with everything that a training step needs, for benchmarks."""

from dataclasses import dataclass
from typing import Any, Sequence, Tuple

import torch
from fairseq import optim, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf


@dataclass
class Trainee:
    """A model, its loss and its optimiser."""

    model: torch.nn.Module
    criterion: torch.nn.Module
    optimizer: optim.FairseqOptimizer
    clip_norm: float

    def step(self, sample: Any) -> None:
        """Forward and backward pass with a batch, clipping, and an update."""
        self.model.train()
        self.optimizer.zero_grad()
        loss, sample_size, _ = self.criterion(self.model, sample)
        self.optimizer.backward(loss)
        self.optimizer.multiply_grads(1.0 / sample_size)
        self.optimizer.clip_grad_norm(self.clip_norm)
        self.optimizer.step()


def build_trainee(arguments: Sequence[str]) -> Tuple[Trainee, Any, Any]:
    """Build what the arguments of ``fairseq-train`` describe, with the random seed 1.

    Returns:
        the model with its parts, the task, and the configuration.
    """
    args = options.parse_args_and_arch(options.get_training_parser(), list(arguments))
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.build_optimizer(cfg.optimizer, trained)
    return Trainee(model, criterion, optimizer, cfg.optimization.clip_norm), task, cfg
