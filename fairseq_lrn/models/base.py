"""fairseq's interface around an encoder and a recurrent decoder."""

import copy
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from torch import Tensor

# Completes the arguments of RecurrentModel.from_pretrained: (directory, checkpoint names or None,
# options) to (checkpoint names, options). It is registered by the package that knows raw text.
HubCompletion = Callable[[str, Optional[str], Dict[str, Any]], Tuple[str, Dict[str, Any]]]
_hub_completions: List[HubCompletion] = []


def register_hub_completion(completion: HubCompletion) -> HubCompletion:
    """Let *completion* fill in missing arguments of :meth:`RecurrentModel.from_pretrained`."""
    _hub_completions.append(completion)
    return completion


class RecurrentModel(FairseqEncoderDecoderModel):
    """An encoder-decoder model with a recurrent decoder."""

    def __init__(self, encoder: FairseqEncoder, decoder: "RecurrentDecoder"):
        super().__init__(encoder, decoder)

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: Optional[str] = None,
        data_name_or_path: str = ".",
        **kwargs: Any,
    ) -> GeneratorHubInterface:
        """Load fairseq's hub interface from a directory of checkpoints.

        If the directory holds the files that raw text needs (training on data of
        ``fairseq-lrn prepare`` puts them there), ``translate`` and ``sample`` map raw text to raw
        text. Otherwise, or if the options name a ``tokenizer`` or ``bpe``, they behave as
        elsewhere in fairseq. :func:`fairseq_lrn.load_translator` returns more than text.

        Args:
            model_name_or_path: the directory.
            checkpoint_file: name of a checkpoint in it, or several names joined by ``:``; by
                default the one that :func:`fairseq_lrn.checkpoints.preferred` finds.
            data_name_or_path: directory of the dictionaries; ``"."``: the same directory.
            kwargs: options of fairseq that differ from those of the training run.

        Raises:
            InputError: there is no checkpoint.
        """
        for complete in _hub_completions:
            checkpoint_file, kwargs = complete(model_name_or_path, checkpoint_file, kwargs)
        return super().from_pretrained(
            model_name_or_path, checkpoint_file, data_name_or_path, **kwargs
        )

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        features_only: bool = False,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """
        Args:
            src_tokens: source, ``B x S``, padded on either side.
            src_lengths: source lengths, ``B``.
            prev_output_tokens: target shifted right, ``B x T``.
            features_only: leave out the output layer.

        Returns:
            logits ``B x T x V`` (or features ``B x T x C``) and ``{"attn": [B x T x S]}``.
        """
        encoder_out = self.encoder(src_tokens, src_lengths)
        return self.decoder(prev_output_tokens, encoder_out, features_only=features_only)

    @torch.jit.export
    def get_normalized_probs(
        self,
        net_output: Tuple[Tensor, Optional[Dict[str, List[Optional[Tensor]]]]],
        log_probs: bool,
        sample: Optional[Dict[str, Tensor]] = None,
    ):
        """(Log) probabilities ``B x T x V`` from the result of :meth:`forward`."""
        # TorchScript cannot call the base class's method of the same name.
        return self.get_normalized_probs_scriptable(net_output, log_probs, sample)

    @torch.jit.unused
    def export_unavailable_reason(self) -> str:
        """Why this model cannot be exported to ONNX; empty if it can."""
        return f"{type(self).__name__} does not support it"


class RecurrentEncoder(FairseqEncoder):
    """An encoder that returns a dictionary of lists of tensors.

    Args:
        dictionary: source dictionary.
        max_positions: longest source sentence, in tokens.
    """

    def __init__(self, dictionary, max_positions: int):
        super().__init__(dictionary)
        self.padding_idx = dictionary.pad()
        self.max_source_positions = max_positions

    @torch.jit.export
    def reorder_encoder_out(
        self, encoder_out: Dict[str, List[Tensor]], new_order: Tensor
    ) -> Dict[str, List[Tensor]]:
        """Select sentences in every entry, along its batch dimension."""
        reordered: Dict[str, List[Tensor]] = {}
        for key, tensors in encoder_out.items():
            # S x B x C in these two entries, B x ... in all others
            batch_dim = 1 if key in ("encoder_out", "encoder_states") else 0
            reordered[key] = [tensor.index_select(batch_dim, new_order) for tensor in tensors]
        return reordered

    def max_positions(self) -> int:
        """Longest source sentence, in tokens."""
        return self.max_source_positions


class RecurrentDecoder(FairseqIncrementalDecoder):
    """An incremental decoder; a subclass extracts features and computes logits from them.

    Args:
        dictionary: target dictionary.
        max_positions: longest target sentence, in tokens.
    """

    def __init__(self, dictionary, max_positions: int):
        super().__init__(dictionary)
        self.padding_idx = dictionary.pad()
        self.max_target_positions = max_positions
        self.need_attn = True
        self.init_incremental_state()

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        features_only: bool = False,
        src_lengths: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """
        Args:
            prev_output_tokens: target shifted right, ``B x T``. In incremental decoding the
                whole prefix; positions that were decoded before are skipped.
            encoder_out: the encoder's result.
            incremental_state: cache of incremental decoding.
            features_only: leave out the output layer.
            src_lengths: not used; part of fairseq's interface.

        Returns:
            logits ``B x T x V`` (only the new positions in incremental decoding) and
            ``{"attn": [B x T x S]}``: the attention of the last layer that attends, averaged over
            its heads, over source positions as given, padding included. It is None in training
            and if generation does not need it.
        """
        x, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        if not features_only:
            x = self.output_layer(x)
        return x, extra

    @torch.jit.export
    def get_normalized_probs(
        self,
        net_output: Tuple[Tensor, Optional[Dict[str, List[Optional[Tensor]]]]],
        log_probs: bool,
        sample: Optional[Dict[str, Tensor]] = None,
    ):
        """(Log) probabilities ``B x T x V`` from the result of :meth:`forward`."""
        return self.get_normalized_probs_scriptable(net_output, log_probs, sample)

    @torch.jit.unused
    def output_table(self) -> Tuple[Optional[Tensor], str]:
        """The matrix ``V x C`` by which the output layer multiplies features, and nothing more.

        Returns:
            the matrix and an empty string, or None and the reason why there is no such matrix.
        """
        return None, f"{type(self).__name__} does not name its output matrix"

    def max_positions(self) -> int:
        """Longest target sentence, in tokens."""
        return self.max_target_positions

    def make_generation_fast_(self, need_attn: bool = False, **kwargs) -> None:
        """Called by fairseq before generation: skip attention weights that are not needed."""
        self.need_attn = need_attn


def model_options(config_class, cfg, task, required: Sequence[int] = ()):
    """The checked options of a model, with the number of layers that are kept.

    Args:
        config_class: dataclass of the model's options.
        cfg: options from fairseq, a namespace or an omegaconf configuration. It has the fields of
            the dataclass, but not its methods.
        task: task with ``source_dictionary`` and ``target_dictionary``.
        required: indices of the layers that must be kept.

    Raises:
        ValueError: an option has an invalid value or conflicts with another.
    """
    cfg = _keep_layers(config_class.from_namespace(cfg), required)
    cfg.check()
    if cfg.share_all_embeddings and task.source_dictionary != task.target_dictionary:
        raise ValueError(
            "--share-all-embeddings requires a joined dictionary: "
            "run fairseq-preprocess with --joined-dictionary"
        )
    return cfg


def _keep_layers(cfg, required: Sequence[int]):
    """A copy of the options with the number of layers that ``--*-layers-to-keep`` leaves.

    Args:
        cfg: options of a model.
        required: indices of the layers that must be kept.

    Raises:
        ValueError: a layer does not exist, or a required layer is left out.
    """
    cfg = copy.copy(cfg)
    for side in ("encoder", "decoder"):
        option, kept = f"--{side}-layers-to-keep", getattr(cfg, f"{side}_layers_to_keep")
        if not kept:
            continue
        layers = kept.split(",")
        number = getattr(cfg, f"{side}_layers")
        if any(not layer.isdecimal() or int(layer) >= number for layer in layers):
            raise ValueError(f"{option} {kept} must be numbers of layers, from 0 to {number - 1}")
        if not set(map(str, required)) <= set(layers):
            raise ValueError(f"{option} must keep layer 0, which differs from the others")
        setattr(cfg, f"{side}_layers", len(layers))
    return cfg
