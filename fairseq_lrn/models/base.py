"""Base classes of fairseq models with an encoder and a recurrent decoder."""

import copy
import os
import re
from contextlib import nullcontext
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, Union

import torch
from fairseq import hub_utils
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from omegaconf import DictConfig, open_dict
from torch import Tensor

from fairseq_lrn import checkpoints
from fairseq_lrn.models.config_checks import check_layers_to_keep
from fairseq_lrn.models.dictionaries import check_dictionaries, remember_dictionaries
from fairseq_lrn.modules.linear import Packable

# Maps (directory, checkpoint names or None, options) to (checkpoint names, options). A layer above
# this one registers it, because models know nothing about raw text.
HubCompletion = Callable[[str, Optional[str], Dict[str, Any]], Tuple[str, Dict[str, Any]]]
_hub_completions: List[HubCompletion] = []
_hub_interface: Type[GeneratorHubInterface] = GeneratorHubInterface


def register_hub_completion(completion: HubCompletion) -> HubCompletion:
    """Use *completion* to fill in missing arguments of :meth:`RecurrentModel.from_pretrained`."""
    _hub_completions.append(completion)
    return completion


def register_hub_interface(interface: Type[GeneratorHubInterface]) -> Type[GeneratorHubInterface]:
    """Let :meth:`RecurrentModel.from_pretrained` return an instance of *interface*."""
    global _hub_interface
    _hub_interface = interface
    return interface


class RecurrentModel(FairseqEncoderDecoderModel):
    """An encoder-decoder model with a recurrent decoder."""

    def __init__(self, encoder: FairseqEncoder, decoder: "RecurrentDecoder"):
        super().__init__(encoder, decoder)
        remember_dictionaries(self, source=encoder.dictionary, target=decoder.dictionary)

    def follow_task(self, task: Any) -> "RecurrentModel":
        """Return attention weights in training if the task has alignments to learn from.

        A criterion needs them with ``--load-alignments``. Otherwise they would cost time.
        """
        options = getattr(task, "cfg", None)
        self.decoder.attn_in_training = bool(getattr(options, "load_alignments", False))
        return self

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: Union[str, "os.PathLike[str]"],
        checkpoint_file: Union[str, "os.PathLike[str]", None] = None,
        data_name_or_path: Union[str, "os.PathLike[str]"] = ".",
        **kwargs: Any,
    ) -> GeneratorHubInterface:
        """Load a model with fairseq's hub interface from a directory of checkpoints.

        If the directory contains the files for raw text, the methods ``translate`` and ``sample``
        of the result take raw text and return raw text. A training run on data from
        ``fairseq-lrn prepare`` puts these files next to its checkpoints. Without these files, or
        with an option ``tokenizer`` or ``bpe``, the methods behave as for fairseq's own models.
        :func:`fairseq_lrn.load_translator` returns more than the text of a translation.

        Args:
            model_name_or_path: the directory.
            checkpoint_file: name of a checkpoint in the directory, or several names joined by
                ``:``. The default is the checkpoint that
                :func:`fairseq_lrn.checkpoints.preferred` finds.
            data_name_or_path: directory of the dictionaries; ``"."``: the same directory.
            kwargs: options of fairseq that replace the options of the training run.

        Raises:
            InputError: the directory contains no checkpoint.
        """
        directory, data = os.fspath(model_name_or_path), os.fspath(data_name_or_path)
        if checkpoint_file is not None:
            checkpoint_file = os.fspath(checkpoint_file)
        for complete in _hub_completions:
            checkpoint_file, kwargs = complete(directory, checkpoint_file, kwargs)
        if data.startswith(".") and os.path.isdir(directory):  # it is relative to the model
            data = os.path.abspath(os.path.join(directory, data))
        with checkpoints.readable(data) as path:
            loaded = hub_utils.from_pretrained(
                directory, checkpoint_file, path, archive_map=cls.hub_models(), **kwargs
            )
        if path != data:
            loaded["task"].cfg.data = data
        return _hub_interface(loaded["args"], loaded["task"], loaded["models"])

    def upgrade_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Called by fairseq before it loads a checkpoint.

        Raises:
            DataMismatch: the checkpoint has other dictionaries than the data.
        """
        super().upgrade_state_dict(state_dict)
        check_dictionaries(self, state_dict)

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """As in fairseq. *model_cfg* keeps describing the model if layers are pruned."""
        if model_cfg is not None:
            follow_pruning(model_cfg, state_dict)
        return super().load_state_dict(state_dict, strict, model_cfg, args)

    def __setstate__(self, state: Dict[str, Any]) -> None:
        """Restore a copy, and pack its weights again if the original was made for generation."""
        super().__setstate__(state)
        if self._is_generation_fast:
            for module in self.modules():
                if isinstance(module, Packable) and not module.has_packed_copy():
                    module.pack()

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        features_only: bool = False,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """
        Args:
            src_tokens: source tokens, ``B x S``, padded on either side.
            src_lengths: source lengths, ``B``.
            prev_output_tokens: target tokens shifted right, ``B x T``.
            features_only: skip the output layer.

        Returns:
            logits ``B x T x V`` (features ``B x T x C`` with *features_only*) and
            ``{"attn": [B x T x S]}``, see :meth:`RecurrentDecoder.forward`.
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
        max_positions: longest source sentence in training and in fairseq's commands, in tokens. The
            encoder itself reads sentences of any length.
    """

    def __init__(self, dictionary, max_positions: int):
        super().__init__(dictionary)
        self.padding_idx = dictionary.pad()
        self.max_source_positions = max_positions

    @torch.jit.export
    def reorder_encoder_out(
        self, encoder_out: Dict[str, List[Tensor]], new_order: Tensor
    ) -> Dict[str, List[Tensor]]:
        """Select sentences in every tensor of the encoder output.

        Args:
            encoder_out: the result of the encoder.
            new_order: indices of the sentences to select, ``B'``.

        Returns:
            a dictionary of the same form with the batch size ``B'``.
        """
        reordered: Dict[str, List[Tensor]] = {}
        for key, tensors in encoder_out.items():
            # These two entries are S x B x C, all others B x ...
            batch_dim = 1 if key in ("encoder_out", "encoder_states") else 0
            reordered[key] = [tensor.index_select(batch_dim, new_order) for tensor in tensors]
        return reordered

    def max_positions(self) -> int:
        """Longest source sentence, in tokens."""
        return self.max_source_positions


class RecurrentDecoder(FairseqIncrementalDecoder):
    """An incremental decoder. A subclass implements ``extract_features`` and ``output_layer``.

    Args:
        dictionary: target dictionary.
        max_positions: longest target sentence, in tokens.
        hypothesis_dim: dimension of the cached tensors of incremental decoding that numbers the
            hypotheses.
    """

    def __init__(self, dictionary, max_positions: int, hypothesis_dim: int = 1):
        super().__init__(dictionary)
        self.hypothesis_dim = hypothesis_dim
        self.padding_idx = dictionary.pad()
        self.max_target_positions = max_positions
        self.need_attn = True
        self.attn_in_training = False  # see RecurrentModel.follow_task
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
            prev_output_tokens: target tokens shifted right, ``B x T``. In incremental decoding,
                either the whole prefix or its last token. Positions that are already decoded are
                skipped.
            encoder_out: the result of the encoder.
            incremental_state: cache of incremental decoding.
            features_only: skip the output layer.
            src_lengths: not used; part of fairseq's interface.

        Returns:
            logits ``B x T x V`` (only the new positions in incremental decoding) and
            ``{"attn": [B x T x S]}``: the attention weights of the last layer that attends,
            averaged over its heads. They refer to source positions as given, padding included.
            The weights are None if generation does not need them, and in training unless the task
            has alignments.
        """
        x, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        if not features_only:
            x = self.output_layer(x)
        return x, extra

    def cached_tensors(
        self, incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]]
    ) -> Optional[Dict[str, Optional[Tensor]]]:
        """What the step before kept with :meth:`cache`; None in the first step."""
        return self.get_incremental_state(incremental_state, "recurrence")

    def num_seen(self, cached: Dict[str, Optional[Tensor]], prev_output_tokens: Tensor) -> int:
        """The number of tokens, ``B x T``, that are already decoded.

        A caller may pass the whole prefix, as fairseq does, or the last token alone.
        """
        num_steps = cached["num_steps"]
        assert num_steps is not None
        return min(int(num_steps.item()), prev_output_tokens.size(1) - 1)

    def cache(
        self,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]],
        tensors: Dict[str, Optional[Tensor]],
        num_steps: int,
    ) -> None:
        """Keep tensors for the next step of incremental decoding.

        Args:
            incremental_state: cache of incremental decoding; None: keep nothing.
            tensors: their dimension ``hypothesis_dim`` numbers the hypotheses.
            num_steps: number of decoded tokens.
        """
        if incremental_state is not None:
            # On the CPU, so that reading it does not wait for a GPU.
            tensors["num_steps"] = torch.tensor(num_steps, device=torch.device("cpu"))
            self.set_incremental_state(incremental_state, "recurrence", tensors)

    @torch.jit.export
    def reorder_incremental_state(
        self,
        incremental_state: Dict[str, Dict[str, Optional[Tensor]]],
        new_order: Tensor,
    ) -> Optional[Dict[str, Dict[str, Optional[Tensor]]]]:
        """Select hypotheses in the cached tensors.

        Args:
            incremental_state: cache of incremental decoding; it is updated and returned.
            new_order: indices of the hypotheses to select, ``B'``.
        """
        cached = self.cached_tensors(incremental_state)
        if cached is not None:
            for name, value in cached.items():
                if name != "num_steps" and value is not None:
                    cached[name] = value.index_select(self.hypothesis_dim, new_order)
            self.set_incremental_state(incremental_state, "recurrence", cached)
        return incremental_state

    def returns_attn(self) -> bool:
        """Whether the next result of :meth:`forward` contains attention weights."""
        return self.need_attn and (self.attn_in_training or not self.training)

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
        """The matrix of an output layer that is a single matrix product.

        Returns:
            the matrix ``V x C`` and an empty string, or None and the reason why there is no such
            matrix.
        """
        return None, f"{type(self).__name__} does not name its output matrix"

    @torch.jit.unused
    def masked_tokens(self) -> Optional[Tensor]:
        """A mask over the dictionary, ``V``, true at tokens whose probability is always 0.

        None if every token can have a probability.
        """
        return None

    def max_positions(self) -> int:
        """Longest target sentence, in tokens."""
        return self.max_target_positions

    def make_generation_fast_(self, need_attn: bool = False, **kwargs) -> None:
        """Called by fairseq before generation: skip attention weights unless needed."""
        self.need_attn = need_attn


def follow_pruning(model_cfg: Any, state: Mapping[str, Any]) -> None:
    """Let a configuration describe the model that ``--*-layers-to-keep`` makes of a state.

    When fairseq (0.12.2, 0.12.3) loads a state, it prunes it and drops the options. It leaves the
    numbers of layers that the next checkpoint saves, prunes a pruned state again, and drops all
    layers of a side for which no option is given.

    Args:
        model_cfg: the configuration; it is changed.
        state: the state to load.
    """
    sides = ("encoder", "decoder")
    options = {side: f"{side}_layers_to_keep" for side in sides}
    given = {side: getattr(model_cfg, options[side], None) for side in sides}
    if not any(given.values()):
        return
    matches = [re.match(r"(encoder|decoder)\.layers\.(\d+)\.", name) for name in state]
    layers = {match.groups() for match in matches if match}
    present = {side: sum(owner == side for owner, _ in layers) for side in sides}
    kept = {side: given[side].split(",") if given[side] else [] for side in sides}
    is_pruned = all(present[side] <= len(kept[side]) for side in sides if given[side])
    with open_dict(model_cfg) if isinstance(model_cfg, DictConfig) else nullcontext():
        for side in sides:
            if given[side]:
                setattr(model_cfg, f"{side}_layers", len(kept[side]))
            if is_pruned:
                setattr(model_cfg, options[side], None)
            elif not given[side] or present[side] <= len(kept[side]):
                setattr(model_cfg, options[side], ",".join(map(str, range(present[side]))))


def model_options(config_class, cfg, task, keep_first_layer: bool = False):
    """The checked options of a model.

    Args:
        config_class: dataclass of the model's options.
        cfg: options from fairseq, a namespace or an omegaconf configuration. It has the fields of
            the dataclass, but not its methods.
        task: task with ``source_dictionary`` and ``target_dictionary``.
        keep_first_layer: refuse to prune layer 0, which differs from the layers above it.

    Returns:
        an instance of *config_class*. If layers are pruned, the numbers of layers are the numbers
        of the layers that are kept.

    Raises:
        ValueError: an option has an invalid value or conflicts with another.
    """
    cfg = copy.copy(config_class.from_namespace(cfg))
    for side in ("encoder", "decoder"):
        kept = getattr(cfg, f"{side}_layers_to_keep")
        if kept:
            number = getattr(cfg, f"{side}_layers")
            check_layers_to_keep(f"--{side}-layers-to-keep", kept, number, keep_first_layer)
            setattr(cfg, f"{side}_layers", len(kept.split(",")))
    cfg.check()
    if cfg.share_all_embeddings and task.source_dictionary != task.target_dictionary:
        raise ValueError(
            "--share-all-embeddings requires a joined dictionary: "
            "run fairseq-preprocess with --joined-dictionary"
        )
    return cfg
