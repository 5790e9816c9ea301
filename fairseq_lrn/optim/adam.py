"""torch's fused Adam as an optimiser of fairseq."""

import ast
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II

from fairseq_lrn.options import check_minimum


@dataclass
class TorchAdamConfig(FairseqDataclass):
    """Options of ``--optimizer torch_adam``. The names are the names of fairseq's ``adam``."""

    adam_betas: Any = field(
        default=(0.9, 0.999), metadata={"help": "decay rates of Adam's two moments"}
    )
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon of Adam"})
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled weight decay"})
    lr: List[float] = II("optimization.lr")


@register_optimizer("torch_adam", dataclass=TorchAdamConfig)
class TorchAdam(FairseqOptimizer):
    """The updates of fairseq's ``adam``, in one pass over the parameters.

    This is torch's AdamW in its fused form. On devices other than CPU and GPU, and on the CPU with
    torch before 2.4, it is AdamW in its plain form. The only difference to fairseq's ``adam`` is
    where epsilon is added: to sqrt(v / (1 - beta2^t)), whereas fairseq adds it to sqrt(v).

    Raises:
        ValueError: an option has an invalid value.
    """

    def __init__(self, cfg: TorchAdamConfig, params):
        super().__init__(cfg)
        params = list(params)
        self._fused = _can_fuse(params) or None
        self._optimizer = torch.optim.AdamW(params, fused=self._fused, **self.optimizer_config)

    @property
    def optimizer_config(self) -> Dict[str, Any]:
        """Options of torch's optimiser, the same for all parameters."""
        lr, betas = self.cfg.lr, self.cfg.adam_betas
        check_minimum(0, adam_eps=self.cfg.adam_eps, weight_decay=self.cfg.weight_decay)
        return {
            "lr": lr[0] if isinstance(lr, Collection) else lr,
            "betas": _checked_betas(betas),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
        }

    def load_state_dict(self, state_dict, optimizer_overrides=None):
        """As in fairseq. This machine decides whether updates are fused, not the one that saved."""
        # Before loading: it also decides on which device torch counts the updates.
        groups = [{**group, "fused": self._fused} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups}, optimizer_overrides)

    @property
    def supports_flat_params(self) -> bool:
        """Whether all parameters may be one flat tensor: yes, Adam is element-wise."""
        return True


def _checked_betas(betas: Any) -> Tuple[float, float]:
    """The betas as numbers, from a sequence or from the text of one."""
    try:
        values = ast.literal_eval(betas) if isinstance(betas, str) else betas
        first, second = (float(value) for value in values)
    except (SyntaxError, TypeError, ValueError):
        first = second = -1.0
    if not (0.0 <= first < 1.0 and 0.0 <= second < 1.0):
        raise ValueError(
            "--adam-betas must be two numbers, each at least 0 and below 1, e.g. (0.9, 0.98), "
            f"not {betas}"
        )
    return first, second


def _can_fuse(params: List[torch.Tensor]) -> bool:
    """Whether this version of torch has a fused AdamW for the device of the parameters."""
    devices = {param.device.type for param in params}
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return devices == {"cuda"} or (devices == {"cpu"} and version >= (2, 4))
