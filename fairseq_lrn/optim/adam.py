"""torch's own fused Adam as an optimizer of fairseq."""

import ast
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II


@dataclass
class TorchAdamConfig(FairseqDataclass):
    """Options of ``--optimizer torch_adam``; they are named as those of fairseq's ``adam``."""

    adam_betas: Any = field(default=(0.9, 0.999), metadata={"help": "betas for Adam optimizer"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for Adam optimizer"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay, decoupled"})
    lr: List[float] = II("optimization.lr")


@register_optimizer("torch_adam", dataclass=TorchAdamConfig)
class TorchAdam(FairseqOptimizer):
    """The updates of fairseq's ``adam``, in one pass over the parameters.

    torch's AdamW in its fused form (elsewhere than on CPU and GPU, and on the CPU with torch
    before 2.4, in its ordinary one). The only difference is where epsilon is added: to
    sqrt(v / (1 - beta2^t)), by fairseq to sqrt(v).
    """

    def __init__(self, cfg: TorchAdamConfig, params):
        super().__init__(cfg)
        params = list(params)
        self._optimizer = torch.optim.AdamW(
            params, fused=_can_fuse(params) or None, **self.optimizer_config
        )

    @property
    def optimizer_config(self) -> Dict[str, Any]:
        """Options of torch's optimizer; one for all parameters."""
        lr, betas = self.cfg.lr, self.cfg.adam_betas
        return {
            "lr": lr[0] if isinstance(lr, Collection) else lr,
            "betas": _betas(betas),
            "eps": _at_least_0("--adam-eps", self.cfg.adam_eps),
            "weight_decay": _at_least_0("--weight-decay", self.cfg.weight_decay),
        }

    @property
    def supports_flat_params(self) -> bool:
        """Adam is element-wise."""
        return True


def _betas(betas: Any) -> tuple:
    try:
        values = ast.literal_eval(betas) if isinstance(betas, str) else betas
        first, second = (float(value) for value in values)
    except (SyntaxError, TypeError, ValueError):
        first = second = -1.0
    if not (0.0 <= first < 1.0 and 0.0 <= second < 1.0):
        raise ValueError(
            f"--adam-betas must be two numbers from 0 to below 1, as (0.9, 0.98), not {betas}"
        )
    return first, second


def _at_least_0(option: str, value: float) -> float:
    if not value >= 0.0:
        raise ValueError(f"{option} must be at least 0, not {value}")
    return value


def _can_fuse(params: List[torch.Tensor]) -> bool:
    kinds = {param.device.type for param in params}
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return kinds == {"cuda"} or (kinds == {"cpu"} and version >= (2, 4))
