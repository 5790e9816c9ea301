"""Export to ONNX: the encoder, which runs once per batch, and one step of the decoder."""

import importlib.util
import os
from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write
from fairseq_lrn.modules.search import SearchState

OPSET = 18


class Encoder(nn.Module):
    """The encoder, with everything that the decoder computes once per batch.

    Args:
        model: a model ``lrn``, with L decoder layers.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder

    def forward(self, src_tokens: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Encode a batch of sentences.

        Args:
            src_tokens: source, ``B x S``, padded on either side.

        Returns:
            the initial states of the decoder layers ``L x B x H``; their keys and values
            ``2L x S x B x C``, in the order key, value, key, value, ...; and the padding mask
            ``B x S``, true at padding.
        """
        padding_mask = src_tokens.eq(self.encoder.padding_idx)
        lengths = (~padding_mask).sum(1)
        encoder_out = self.encoder(src_tokens, lengths)
        states = torch.cat(self.decoder.initial_states(encoder_out))
        memory = torch.stack(self.decoder.project_memory(encoder_out["encoder_out"][0]))
        return states, memory, padding_mask


class ExportedStep(nn.Module):
    """One step of the decoder, for one hypothesis per row.

    Args:
        model: a model ``lrn``, with L decoder layers.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.decoder = model.decoder

    def forward(
        self, tokens: Tensor, states: Tensor, memory: Tensor, padding_mask: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Compute the probabilities of the next tokens.

        Args:
            tokens: the latest tokens, ``B``; EOS at the first step.
            states: states of the layers, ``L x B x H``: the result of the previous step, or of
                :class:`Encoder` at the first step.
            memory, padding_mask: results of :class:`Encoder`.

        Returns:
            log-probabilities of the next token ``B x V``, and new states ``L x B x H``.
        """
        state = SearchState(list(states.unbind(0)), list(memory.unbind(0)), padding_mask)
        # B to 1 x B: one hypothesis per sentence; B x C to 1 x B x C for the output layer
        features = self.decoder.search_step(tokens.unsqueeze(0), state)
        logits = self.decoder.output_layer(features.unsqueeze(0))[0]
        return torch.log_softmax(logits, dim=-1), torch.stack(state.recurrent)


def has_exporter() -> bool:
    """Whether this torch can export dynamic sizes and scans."""
    return (
        hasattr(torch.export, "Dim")
        and hasattr(torch.export.Dim, "DYNAMIC")
        and importlib.util.find_spec("torch._higher_order_ops.scan") is not None
    )


def export(model: nn.Module, destdir: str) -> None:
    """Write ``encoder.onnx`` (:class:`Encoder`) and ``decoder.onnx`` (:class:`ExportedStep`).

    Batch size and sentence length are dynamic. Inputs and outputs have the names of the arguments
    and results there: ``src_tokens`` to ``states``, ``memory`` and ``padding_mask``; ``tokens``,
    ``states``, ``memory`` and ``padding_mask`` to ``log_probs`` and ``new_states``.

    Args:
        model: a model ``lrn``; it is put into evaluation mode. Other models cannot be exported:
            fairseq's transformer encoder, for one, has control flow that depends on the data.
        destdir: directory, created if it is missing.

    Raises:
        InputError: a package is missing, torch is too old, the model cannot be exported, or
            a file cannot be written.
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
        raise InputError(f"ONNX export is for models of the architecture lrn: {reason}")
    model.eval()
    # All sizes differ and none is 1: the exporter would treat equal sizes as one dimension.
    src_tokens = torch.full((3, 7), model.encoder.padding_idx + 1, device="cpu")
    src_tokens[0, 0] = model.encoder.padding_idx
    encoder, step = Encoder(model), ExportedStep(model)
    with torch.no_grad():
        states, memory, padding_mask = encoder(src_tokens)
    batch, length = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    try:
        os.makedirs(destdir, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {destdir}: {error.strerror or error}") from error
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


def _export(
    module: nn.Module,
    example: Tuple[Tensor, ...],
    path: str,
    dynamic_shapes: Dict[str, Dict[int, Any]],
    output_names: List[str],
) -> None:
    """Export a module; *dynamic_shapes* has its inputs by name, in order."""
    with torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            example,
            input_names=list(dynamic_shapes),
            output_names=output_names,
            dynamic_shapes=tuple(dynamic_shapes.values()),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    with atomic_write(path) as file:
        file.write(program.model_proto.SerializeToString())
