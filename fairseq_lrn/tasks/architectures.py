"""Which architectures a task can train."""

from typing import Any

from fairseq.models import ARCH_MODEL_REGISTRY

from fairseq_lrn.errors import InputError


def check_architecture(cfg: Any, base: type, task: str, example: str) -> None:
    """Refuse an architecture whose models are for another task.

    Args:
        cfg: fairseq's options of the model.
        base: class of the models that the task trains.
        task: name of the task.
        example: an architecture for it.

    Raises:
        InputError: the models of the architecture are no instances of *base*.
    """
    name = getattr(cfg, "_name", None) or getattr(cfg, "arch", None)
    model = ARCH_MODEL_REGISTRY.get(name)
    if model is not None and not issubclass(model, base):
        raise InputError(
            f"--arch {name} is for another task: give --task {task} an architecture such as "
            f"{example}, or choose the task of {name}"
        )
