"""What the models share: fairseq's interface around what they compute."""

import copy
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from torch import Tensor

from fairseq_lrn import checkpoints
from fairseq_lrn.data import raw


class RecurrentModel(FairseqEncoderDecoderModel):
    """Encoder and decoder as fairseq calls them."""

    def __init__(self, encoder: "RecurrentEncoder", decoder: "RecurrentDecoder"):
        super().__init__(encoder, decoder)

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: Optional[str] = None,
        data_name_or_path: str = ".",
        **kwargs: Any,
    ) -> GeneratorHubInterface:
        """fairseq's hub interface, of a directory of checkpoints.

        Where the directory has what raw text takes, as training on data of
        ``scripts/prepare_text.py`` leaves it, ``translate`` and ``sample`` are from raw text to raw
        text. Otherwise, or with a ``tokenizer`` or ``bpe`` among the options, as elsewhere in
        fairseq. :func:`fairseq_lrn.load_translator` gives more than texts.

        Args:
            model_name_or_path: the directory.
            checkpoint_file: name of a checkpoint in it, or several, with ``:`` between them; by
                default that which :func:`fairseq_lrn.checkpoints.preferred` finds.
            data_name_or_path: where the dictionaries are; ``"."``: in the same directory.
            kwargs: options of fairseq that are to be others than those of the training.

        Raises:
            InputError: there is no checkpoint.
        """
        if checkpoint_file is None:
            checkpoint_file = checkpoints.preferred(model_name_or_path)
        if not {"tokenizer", "bpe"} & kwargs.keys() and raw.files(model_name_or_path):
            first = checkpoint_file.split(os.pathsep)[0]
            state = checkpoints.load(os.path.join(model_name_or_path, first))
            text = raw.RawText(model_name_or_path, checkpoints.source_lang(state))
            kwargs = {"source_lang": text.source_lang, "target_lang": text.target_lang, **kwargs}
            kwargs.update(
                bpe="prepared_text",
                prepared_text=model_name_or_path,
                prepared_text_source_lang=kwargs["source_lang"],
            )
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
        """(Log) probabilities ``B x T x V`` from what :meth:`forward` returns."""
        # TorchScript cannot call the base class's method of the same name.
        return self.get_normalized_probs_scriptable(net_output, log_probs, sample)


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
        """Select sentences: every entry along its own batch dimension."""
        reordered: Dict[str, List[Tensor]] = {}
        for key, tensors in encoder_out.items():
            batch_dim = 1 if key in ("encoder_out", "encoder_states") else 0
            reordered[key] = [tensor.index_select(batch_dim, new_order) for tensor in tensors]
        return reordered

    def max_positions(self) -> int:
        """Longest source sentence, in tokens."""
        return self.max_source_positions


@dataclass
class SearchState:
    """What a decoder knows of W hypotheses for each of B sentences.

    Hypotheses of one sentence have its memory in common, and only their recurrent state is ever
    copied. Hypothesis w of sentence b has the row w * B + b.

    Attributes:
        recurrent: states of the layers, ``W*B x state_size`` each.
        memory: what is computed once for a sentence, ``S x B x ...`` each.
        padding_mask: source padding, ``B x S``; None: there is none.
        parameters: of the layers' fused step; None: there is no such step.
    """

    recurrent: List[Tensor]
    memory: List[Tensor]
    padding_mask: Optional[Tensor]
    parameters: Optional[List[Optional[Tensor]]] = None

    def select(self, rows: Tensor, sentences: Optional[Tensor] = None) -> None:
        """Go on with these hypotheses.

        Args:
            rows: their rows, in the order in which they go on.
            sentences: those that they are of; None: all that there are.
        """
        self.recurrent = [state.index_select(0, rows) for state in self.recurrent]
        if sentences is not None:
            self.memory = [memory.index_select(1, sentences) for memory in self.memory]
            if self.padding_mask is not None:
                self.padding_mask = self.padding_mask.index_select(0, sentences)


class RecurrentDecoder(FairseqIncrementalDecoder):
    """An incremental decoder; a subclass extracts features and makes logits of them.

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
                whole prefix so far; positions that were seen before are skipped.
            encoder_out: what the encoder returns.
            incremental_state: cache for incremental decoding.
            features_only: leave out the output layer.
            src_lengths: not needed, there for fairseq's interface.

        Returns:
            logits ``B x T x V`` (only the new positions in incremental decoding) and
            ``{"attn": [B x T x S]}``; attention is that of the last layer that attends, averaged
            over its heads, over source positions as given, padding included. It is None in
            training and where generation has no use for it.
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
        """(Log) probabilities ``B x T x V`` from what :meth:`forward` returns."""
        return self.get_normalized_probs_scriptable(net_output, log_probs, sample)

    def max_positions(self) -> int:
        """Longest target sentence, in tokens."""
        return self.max_target_positions

    def make_generation_fast_(self, need_attn: bool = False, **kwargs) -> None:
        """Called by fairseq before generation: leave out attention weights nobody reads."""
        self.need_attn = need_attn


def model_options(config_class, cfg, task, required: Sequence[int] = ()):
    """The options that a model is built from: checked, and without layers that are not kept.

    Args:
        config_class: dataclass of the model's options.
        cfg: what fairseq hands over, a namespace or an omegaconf configuration: the fields of
            the dataclass, not its methods.
        task: with ``source_dictionary`` and ``target_dictionary``.
        required: layers that cannot be left out.

    Raises:
        ValueError: an option has a value that cannot be, or does not go with another.
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
    """A copy of the options with as many layers as ``--*-layers-to-keep`` leaves.

    Args:
        cfg: options of a model.
        required: layers that cannot be left out.

    Raises:
        ValueError: there is no such layer, or a required one is left out.
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
            raise ValueError(f"{option} must keep layer 0, which is not like the others")
        setattr(cfg, f"{side}_layers", len(layers))
    return cfg
