"""Models as ONNX: what is computed once for a batch of sentences, and one step of the decoder."""

import importlib.util
import os
from typing import Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.search import SearchState

OPSET = 18


class Encoder(nn.Module):
    """All that the decoder needs to know of source sentences.

    Args:
        model: ``lrn``.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder

    def forward(self, src_tokens: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            src_tokens: ``B x S``, padded on either side.

        Returns:
            the layers' initial states ``L x B x H``, keys and values of the layers in turns
            ``2L x S x B x C``, and where there is padding ``B x S``.
        """
        padding_mask = src_tokens.eq(self.encoder.padding_idx)
        lengths = (~padding_mask).sum(1)
        encoder_out = self.encoder(src_tokens, lengths)
        states = torch.cat(self.decoder.initial_states(encoder_out))
        memory = torch.stack(self.decoder.project_memory(encoder_out["encoder_out"][0]))
        return states, memory, padding_mask


class DecoderStep(nn.Module):
    """One position of the decoder; each hypothesis is a row.

    Args:
        model: ``lrn``.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.decoder = model.decoder

    def forward(
        self, tokens: Tensor, states: Tensor, memory: Tensor, padding_mask: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """
        Args:
            tokens: the newest symbols ``B``; at first the end of sentence.
            states, memory, padding_mask: what :class:`Encoder` returns; later the states that
                this returned.

        Returns:
            log-probabilities of the next symbol ``B x V``, and the states ``L x B x H``.
        """
        state = SearchState(list(states.unbind(0)), list(memory.unbind(0)), padding_mask)
        features = self.decoder.search_step(tokens.unsqueeze(0), state)
        logits = self.decoder.output_layer(features.unsqueeze(0))[0]
        return torch.log_softmax(logits, dim=-1), torch.stack(state.recurrent)


def has_exporter() -> bool:
    """Whether this torch can: export with any sizes, and scans."""
    return (
        hasattr(torch.export, "Dim")
        and hasattr(torch.export.Dim, "DYNAMIC")
        and importlib.util.find_spec("torch._higher_order_ops.scan") is not None
    )


def export(model: nn.Module, destdir: str) -> None:
    """Write ``encoder.onnx`` and ``decoder.onnx``, of :class:`Encoder` and :class:`DecoderStep`.

    Batch and length are free; inputs and outputs are named as there, the states after a step
    ``new_states``.

    Args:
        model: ``lrn`` (torch.export does not take fairseq's transformer encoder, which looks at the
            data while it is traced); it is put into evaluation mode.
        destdir: directory, made if it is not there.

    Raises:
        InputError: packages are missing, torch is too old, or the model is of another kind.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{package} is not installed: pip install onnx onnxscript")
    if not has_exporter():
        raise InputError(f"ONNX export needs torch 2.6 or later, but this is {torch.__version__}")
    reason = f"{type(model).__name__} does not support it"
    if hasattr(model, "export_unavailable_reason"):
        reason = model.export_unavailable_reason()
    if reason:
        raise InputError(f"ONNX export is for the model lrn without adaptive softmax: {reason}")
    model.eval()
    # Sizes that are all different, and none of them 1: the exporter takes equal ones for the same.
    src_tokens = torch.full((3, 7), model.encoder.padding_idx + 1)
    src_tokens[0, 0] = model.encoder.padding_idx
    encoder, step = Encoder(model), DecoderStep(model)
    with torch.no_grad():
        states, memory, padding_mask = encoder(src_tokens)
    batch, length = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    os.makedirs(destdir, exist_ok=True)
    _export(
        encoder,
        (src_tokens,),
        os.path.join(destdir, "encoder.onnx"),
        {"src_tokens": {0: batch, 1: length}},
        ["states", "memory", "padding_mask"],
    )
    _export(
        step,
        (src_tokens[:, 0], states, memory, padding_mask),
        os.path.join(destdir, "decoder.onnx"),
        {
            "tokens": {0: batch},
            "states": {1: batch},
            "memory": {1: length, 2: batch},
            "padding_mask": {0: batch, 1: length},
        },
        ["log_probs", "new_states"],
    )


def _export(module, example, path, dynamic_shapes, output_names) -> None:
    with torch.no_grad():
        torch.onnx.export(
            module.eval(),
            example,
            path,
            input_names=list(dynamic_shapes),
            output_names=output_names,
            dynamic_shapes=tuple(dynamic_shapes.values()),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
