"""fairseq-hydra-train (0.12.2, 0.12.3) does not apply an architecture to a model with a dataclass.

``model._name=lrn_tiny`` selects the model ``lrn``, but with the defaults of its dataclass: the
command trains a model of another size, without a message.

The patch sets the options that the architecture sets and the configuration leaves out, as
``fairseq-train --arch`` does. When fairseq has filled in the defaults of its own model before it
imports this package, the patch cannot tell them from the user's choice, and logs a warning.
"""

import logging
from argparse import Namespace
from typing import Any, Dict

from fairseq_lrn.compat.patching import patch

logger = logging.getLogger(__name__)


def patch_architectures() -> None:
    """Let fairseq-hydra-train apply architectures."""
    from fairseq.dataclass import utils

    def build(original):
        def merge_with_parent(dataclass, cfg, *args, **kwargs):
            # Not a class: a model that is built from a configuration with all options.
            if isinstance(dataclass, type):
                apply_architecture(dataclass, cfg)
            return original(dataclass, cfg, *args, **kwargs)

        return merge_with_parent

    patch(utils, "merge_with_parent", build)


def apply_architecture(dataclass: type, cfg: Any) -> None:
    """Set the options that an architecture sets and a configuration leaves out.

    Args:
        dataclass: dataclass of a part of fairseq's options.
        cfg: the options of this part. Nothing happens unless they select an architecture.
    """
    from fairseq import models
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    name: Any = getattr(cfg, "_name", None)
    model: Any = models.ARCH_MODEL_NAME_REGISTRY.get(name)
    if name == model or models.MODEL_DATACLASS_REGISTRY.get(model) is not dataclass:
        return
    default = vars(dataclass())
    set_defaults = models.ARCH_CONFIG_REGISTRY[name]
    items: Any = OmegaConf.to_container(cfg, resolve=False)
    given = {key: value for key, value in items.items() if key in default and value != "???"}
    if len(given) == len(default):
        if HydraConfig.initialized():
            _warn_of_defaults(name, model, _options_of(set_defaults, {}), given, default)
        return
    with open_dict(cfg):
        for key, value in _options_of(set_defaults, given).items():
            if key not in given and default.get(key, value) != value:
                # An architecture of fairseq gives False for an option that is a number.
                cfg[key] = (
                    int(value) if isinstance(value, bool) and type(default[key]) is int else value
                )


def _options_of(set_defaults: Any, given: Dict[str, Any]) -> Dict[str, Any]:
    args = Namespace(**given)
    set_defaults(args)
    return vars(args)


def _warn_of_defaults(
    name: str, model: str, wanted: Dict[str, Any], given: Dict[str, Any], default: Dict[str, Any]
) -> None:
    ignored = [
        key
        for key, value in wanted.items()
        if key in default and value != given[key] == default[key]
    ]
    if ignored:
        logger.warning(
            "fairseq-hydra-train does not apply the architecture %s: %s. Give these options with "
            "model._name=%s, or use fairseq-train --arch %s",
            name,
            ", ".join(f"{key} is {given[key]}, not {wanted[key]}" for key in ignored),
            model,
            name,
        )
