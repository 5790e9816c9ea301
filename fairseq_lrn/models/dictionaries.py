"""Which dictionaries belong to the parameters of a model.

A model knows its tokens by their numbers. With other dictionaries of the same sizes it would run,
and confuse its words or labels. So each model has a checksum of each dictionary among its buffers,
and a checkpoint with other ones is refused.
"""

import zlib
from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.checkpoints import CHECKSUMS
from fairseq_lrn.errors import DataMismatch
from fairseq_lrn.modules.word_embedding import WordEmbedding


def remember_dictionaries(model: nn.Module, **dictionaries: Any) -> None:
    """Register a checksum of each dictionary as a buffer of a model.

    Args:
        model: the model.
        dictionaries: the dictionaries by what they are, e.g. ``source``; None: there is none.
    """
    model.dictionary_names = tuple(dictionaries)
    checksums = [0 if one is None else _checksum(one) for one in dictionaries.values()]
    model.register_buffer(CHECKSUMS, torch.tensor(checksums, device="cpu"))


def _checksum(dictionary: Any) -> int:
    """A number below 2^32 for the symbols in their order; their counts do not matter.

    It is 0 if the dictionary, of a class other than fairseq's, has no list of them.
    """
    symbols = getattr(dictionary, "symbols", [])
    return zlib.crc32("\n".join(symbols).encode("utf-8", "surrogatepass"))


def check_dictionaries(model: nn.Module, state_dict: Dict[str, Tensor]) -> None:
    """Refuse the parameters of a checkpoint with other dictionaries.

    Args:
        model: a model, built for the data at hand.
        state_dict: the parameters of the checkpoint. If only one side has checksums, they are added
            here or removed, so that the parameters can be loaded.

    Raises:
        DataMismatch: names the dictionary.
    """
    for name, module in model.named_modules():
        sizes = _dictionary_sizes(module, name, state_dict)
        if sizes is not None and sizes[0] != sizes[1]:
            raise DataMismatch(
                f"the checkpoint has a dictionary of {sizes[0]} entries, but the data have one of "
                f"{sizes[1]} ({name}): give the data that the model was trained on, or prepare the "
                "new data with their dictionary"
            )
    saved, own = state_dict.pop(CHECKSUMS, None), getattr(model, CHECKSUMS, None)
    if own is None:
        return
    if saved is not None and len(saved) == len(own):
        for name, one, other in zip(model.dictionary_names, saved.tolist(), own.tolist()):
            if one and other and one != other:
                raise DataMismatch(
                    f"the checkpoint has another {name} dictionary than the data, with as many "
                    "entries: give the data that the model was trained on, or new data with the "
                    "same dictionary"
                )
    state_dict[CHECKSUMS] = own.clone()


def _dictionary_sizes(
    module: nn.Module, name: str, state_dict: Dict[str, Tensor]
) -> Optional[Tuple[int, int]]:
    """The entries of the dictionary in a checkpoint and at hand; None: *module* embeds no words."""
    if isinstance(module, WordEmbedding):
        is_fixed = state_dict.get(f"{name}.is_fixed")
        return None if is_fixed is None else (len(is_fixed), module.num_words)
    weight = state_dict.get(f"{name}.weight")
    # Not of positions: those are a subclass.
    if type(module) is not nn.Embedding or weight is None or weight.dim() != 2:
        return None
    has_width = weight.size(1) == module.embedding_dim
    return (weight.size(0), module.num_embeddings) if has_width else None
