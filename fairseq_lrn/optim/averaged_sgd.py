"""Stochastic gradient descent that averages the weights of its last updates."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II

from fairseq_lrn.options import check_minimum


@dataclass
class AveragedSGDConfig(FairseqDataclass):
    """Options of ``--optimizer averaged_sgd``."""

    weight_decay: float = field(default=0.0, metadata={"help": "weight decay"})
    nonmonotone_interval: int = field(
        default=5,
        metadata={
            "help": "averaging begins once the validation loss exceeds the lowest one before the "
            "last N validations; 0: with the first update"
        },
    )
    lr: List[float] = II("optimization.lr")


@register_optimizer("averaged_sgd", dataclass=AveragedSGDConfig)
class AveragedSGD(FairseqOptimizer):
    """NT-ASGD: plain SGD, which begins to average the weights when validation stops improving.

    Validation, and the model in checkpoints, have the average of the weights after each update
    since then. Training goes on with the weights themselves, which checkpoints hold as well
    (:mod:`fairseq_lrn.compat.averaged_weights`).

    Raises:
        ValueError: an option has an invalid value.

    Source: Merity et al. (2018), section 3, algorithm 1. The logging interval is that of fairseq's
    validations after which it saves a checkpoint, an epoch by default.
    """

    def __init__(self, cfg: AveragedSGDConfig, params):
        super().__init__(cfg)
        check_minimum(0, nonmonotone_interval=cfg.nonmonotone_interval)
        self._optimizer = _AveragedSGD(list(params), **self.optimizer_config)
        self._optimizer.start_averaging(cfg.nonmonotone_interval == 0)

    @property
    def optimizer_config(self) -> Dict[str, Any]:
        """Options of torch's optimiser, the same for all parameters."""
        lr = self.cfg.lr
        check_minimum(0, weight_decay=self.cfg.weight_decay)
        return {
            "lr": lr[0] if isinstance(lr, Collection) else lr,
            "weight_decay": self.cfg.weight_decay,
        }

    def observe_validation(self, loss: float) -> None:
        """Begin to average if the validation loss is no longer falling.

        Args:
            loss: of the validation just done; lower is better.
        """
        group = self._optimizer.param_groups[0]
        losses, interval = group["validation_losses"], self.cfg.nonmonotone_interval
        if len(losses) > interval and loss > min(losses[: len(losses) - interval]):
            self._optimizer.start_averaging(True)
        losses.append(float(loss))

    def begin_evaluation(self) -> None:
        """Put the average into the parameters, until the next update is prepared."""
        self._optimizer.begin_evaluation()

    def load_state_dict(self, state_dict, optimizer_overrides=None) -> None:
        """As in fairseq. With ``--nonmonotone-interval 0``, averaging begins now."""
        super().load_state_dict(state_dict, optimizer_overrides)
        self._optimizer.start_averaging(self.cfg.nonmonotone_interval == 0)

    def zero_grad(self) -> None:
        """Prepare an update: the parameters are the weights again, and have no gradients."""
        self._optimizer.end_evaluation()
        super().zero_grad()


class _AveragedSGD(torch.optim.SGD):
    """What is averaged is in the state, so torch saves and loads it."""

    def __init__(self, params, **options):
        super().__init__(params, **options)
        for group in self.param_groups:
            group.update(
                validation_losses=[], is_averaging=False, averaged_updates=0, in_evaluation=False
            )

    def start_averaging(self, start: bool) -> None:
        for group in self.param_groups:
            group["is_averaging"] = group["is_averaging"] or start

    @torch.no_grad()
    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            if not group["is_averaging"]:
                continue
            group["averaged_updates"] += 1
            for parameter in group["params"]:
                state = self.state[parameter]
                if "average" not in state:
                    state["average"] = parameter.detach().clone()
                else:
                    share = 1.0 / group["averaged_updates"]
                    state["average"].lerp_(parameter, share)
        return loss

    @torch.no_grad()
    def begin_evaluation(self) -> None:
        for group in self.param_groups:
            if group["in_evaluation"] or group["averaged_updates"] == 0:
                continue
            group["in_evaluation"] = True
            for parameter in group["params"]:
                state = self.state[parameter]
                state["trained"] = parameter.detach().clone()
                parameter.copy_(state["average"])

    @torch.no_grad()
    def end_evaluation(self) -> None:
        for group in self.param_groups:
            if not group["in_evaluation"]:
                continue
            group["in_evaluation"] = False
            for parameter in group["params"]:
                parameter.copy_(self.state[parameter].pop("trained"))
