"""Options of the models. Names follow fairseq's ``transformer`` and ``lstm``."""

import math
from dataclasses import dataclass, field
from typing import List, Optional, Sequence

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_lrn.modules.cells import CELLS, CELLS_WITH_ACTIVATION
from fairseq_lrn.ops import ACTIVATIONS

LAYOUTS = ("zero", "paper")


@dataclass
class LRNDecoderConfig(FairseqDataclass):
    """Options of a model with the LRN decoder, whatever its encoder.

    Defaults are those of the base architecture, so that they also stand alone.
    """

    encoder_embed_dim: int = field(
        default=512, metadata={"help": "encoder embedding dimension, and width of its layers"}
    )
    encoder_layers: int = field(default=2, metadata={"help": "number of encoder layers"})
    encoder_normalize_before: bool = field(
        default=False, metadata={"help": "apply layer norm before each encoder block"}
    )
    encoder_embed_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "path to pre-trained encoder embedding (kept: generation reads it again)"
        },
    )
    encoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze encoder embeddings"}
    )
    encoder_layers_to_keep: Optional[str] = field(
        default=None, metadata={"help": "which encoder layers to keep when pruning, e.g. 0,2"}
    )
    decoder_embed_dim: int = field(
        default=512, metadata={"help": "decoder embedding dimension, and width of its layers"}
    )
    decoder_hidden_size: int = field(default=512, metadata={"help": "decoder state size"})
    decoder_layers: int = field(default=2, metadata={"help": "number of decoder layers"})
    decoder_attention_heads: int = field(
        default=8, metadata={"help": "number of attention heads in each decoder layer"}
    )
    decoder_ffn_embed_dim: int = field(
        default=0,
        metadata={"help": "decoder embedding dimension for FFN in each layer; 0: no FFN"},
    )
    decoder_normalize_before: bool = field(
        default=False, metadata={"help": "apply layer norm before each decoder block"}
    )
    decoder_embed_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "path to pre-trained decoder embedding (kept: generation reads it again)"
        },
    )
    decoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze decoder embeddings"}
    )
    decoder_layers_to_keep: Optional[str] = field(
        default=None, metadata={"help": "which decoder layers to keep when pruning, e.g. 0,2"}
    )
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "share decoder input and output embeddings"}
    )
    share_all_embeddings: bool = field(
        default=False,
        metadata={
            "help": "share encoder, decoder and output embeddings "
            "(requires a joined dictionary and equal embedding dimensions)"
        },
    )
    no_scale_embedding: bool = field(
        default=False, metadata={"help": "do not multiply embeddings by sqrt(embed dim)"}
    )
    adaptive_softmax_cutoff: Optional[str] = field(
        default=None,
        metadata={
            "help": "cutoff points of fairseq's adaptive softmax, e.g. 2000,8000; "
            "for --criterion adaptive_loss"
        },
    )
    adaptive_softmax_dropout: float = field(
        default=0.0,
        metadata={"help": "dropout probability of adaptive softmax, of its input and in its tails"},
    )
    adaptive_softmax_factor: float = field(
        default=4.0, metadata={"help": "each tail of adaptive softmax is so many times as narrow"}
    )
    cell: ChoiceEnum(CELLS) = field(default="lrn", metadata={"help": "recurrent cell"})
    activation_fn: ChoiceEnum(ACTIVATIONS) = field(
        default="tanh", metadata={"help": "output activation g of the cells lrn, olrn and atr"}
    )
    layernorm_projection: bool = field(
        default=False,
        metadata={
            "help": "layer norm on the projections of the recurrence, of its input and state"
        },
    )
    no_projection_bias: bool = field(
        default=False, metadata={"help": "no bias in the projections of the recurrence's input"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout probability"})
    locked_dropout: bool = field(
        default=False,
        metadata={"help": "drop the same elements at every position of a sentence"},
    )
    word_dropout: float = field(
        default=0.0, metadata={"help": "probability of dropping a word's whole embedding"}
    )
    attention_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability for attention weights"}
    )
    decoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout for decoder embeddings (default: --dropout)"}
    )
    decoder_dropout_out: Optional[float] = field(
        default=None, metadata={"help": "dropout for decoder layer branches (default: --dropout)"}
    )
    max_source_positions: int = field(
        default=1024, metadata={"help": "longest source sentence, in tokens"}
    )
    max_target_positions: int = field(
        default=1024, metadata={"help": "longest target sentence, in tokens"}
    )

    def dropout_of(self, place: str) -> float:
        """Dropout at *place*, e.g. ``"encoder_dropout_in"``; ``dropout`` where not given."""
        value = getattr(self, place)
        return self.dropout if value is None else value

    def check(self) -> None:
        """Refuse values and combinations that make no sense.

        Raises:
            ValueError: names the option and the remedy.
        """
        check_counts(
            self,
            "encoder_embed_dim",
            "encoder_layers",
            "decoder_embed_dim",
            "decoder_hidden_size",
            "decoder_layers",
            "decoder_attention_heads",
            "max_source_positions",
            "max_target_positions",
        )
        check_widths(self, "decoder_ffn_embed_dim")
        check_probabilities(
            self,
            "dropout",
            "word_dropout",
            "attention_dropout",
            "adaptive_softmax_dropout",
            "decoder_dropout_in",
            "decoder_dropout_out",
        )
        self.check_adaptive_softmax()
        check_choices(self, cell=CELLS, activation_fn=ACTIVATIONS)
        check_activation(self)
        check_heads(self, "decoder_embed_dim", "decoder_attention_heads")
        if self.share_all_embeddings:
            if self.encoder_embed_dim != self.decoder_embed_dim:
                raise ValueError(
                    "--share-all-embeddings requires --encoder-embed-dim "
                    f"({self.encoder_embed_dim}) to match --decoder-embed-dim "
                    f"({self.decoder_embed_dim})"
                )
            if self.decoder_embed_path and self.decoder_embed_path != self.encoder_embed_path:
                raise ValueError(
                    "--share-all-embeddings has one table: give --encoder-embed-path only, "
                    "or the same file as --decoder-embed-path"
                )
            if self.encoder_freeze_embed != self.decoder_freeze_embed:
                raise ValueError(
                    "--share-all-embeddings has one table: give both --encoder-freeze-embed "
                    "and --decoder-freeze-embed, or neither"
                )

    def adaptive_softmax_cutoffs(self) -> List[int]:
        """``--adaptive-softmax-cutoff`` as numbers."""
        return [int(cutoff) for cutoff in self.adaptive_softmax_cutoff.split(",")]

    def check_adaptive_softmax(self) -> None:
        """See :meth:`check`."""
        if self.adaptive_softmax_cutoff is None:
            return
        try:
            cutoffs = self.adaptive_softmax_cutoffs()
        except ValueError:
            cutoffs = [0]
        if cutoffs[0] < 1 or sorted(set(cutoffs)) != cutoffs:
            raise ValueError(
                "--adaptive-softmax-cutoff must be ascending numbers of words, as 2000,8000, not "
                f"{self.adaptive_softmax_cutoff}"
            )
        if not self.adaptive_softmax_factor >= 1.0:
            raise ValueError(
                f"--adaptive-softmax-factor must be at least 1, not {self.adaptive_softmax_factor}"
            )
        narrowest = self.decoder_embed_dim // self.adaptive_softmax_factor ** len(cutoffs)
        if narrowest < 1:
            raise ValueError(
                f"--adaptive-softmax-cutoff {self.adaptive_softmax_cutoff} has too many tails: the "
                f"last would have no width, with --adaptive-softmax-factor "
                f"{self.adaptive_softmax_factor} and {self.decoder_embed_dim} wide; lower one"
            )
        if self.share_all_embeddings or self.share_decoder_input_output_embed:
            raise ValueError(
                "--adaptive-softmax-cutoff has output tables of its own: leave out "
                "--share-all-embeddings and --share-decoder-input-output-embed"
            )


@dataclass
class LRNConfig(LRNDecoderConfig):
    """Options of the model ``lrn``."""

    encoder_hidden_size: int = field(
        default=512, metadata={"help": "encoder state size, in each direction"}
    )
    encoder_ffn_embed_dim: int = field(
        default=0,
        metadata={"help": "encoder embedding dimension for FFN in each layer; 0: no FFN"},
    )
    encoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout for encoder embeddings (default: --dropout)"}
    )
    encoder_dropout_out: Optional[float] = field(
        default=None, metadata={"help": "dropout for encoder layer branches (default: --dropout)"}
    )

    def check(self) -> None:
        """See :meth:`LRNDecoderConfig.check`."""
        super().check()
        check_counts(self, "encoder_hidden_size")
        check_widths(self, "encoder_ffn_embed_dim")
        check_probabilities(self, "encoder_dropout_in", "encoder_dropout_out")


@dataclass
class TransformerLRNConfig(LRNDecoderConfig):
    """Options of the model ``transformer_lrn``; those of its encoder are fairseq's."""

    encoder_ffn_embed_dim: int = field(
        default=2048, metadata={"help": "encoder embedding dimension for FFN"}
    )
    encoder_attention_heads: int = field(
        default=8, metadata={"help": "number of attention heads in each encoder layer"}
    )
    encoder_learned_pos: bool = field(
        default=False, metadata={"help": "use learned positional embeddings in the encoder"}
    )
    activation_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability after activation in the encoder's FFN"}
    )

    def check(self) -> None:
        """See :meth:`LRNDecoderConfig.check`."""
        super().check()
        check_counts(self, "encoder_ffn_embed_dim", "encoder_attention_heads")
        check_probabilities(self, "activation_dropout")
        check_heads(self, "encoder_embed_dim", "encoder_attention_heads")


@dataclass
class RNMTConfig(FairseqDataclass):
    """Options of the paper's translation model; defaults are those of architecture ``lrn_rnmt``."""

    cell: ChoiceEnum(CELLS) = field(default="lrn", metadata={"help": "recurrent cell"})
    activation_fn: ChoiceEnum(ACTIVATIONS) = field(
        default="identity", metadata={"help": "output activation g of the cells lrn, olrn and atr"}
    )
    embed_dim: int = field(default=512, metadata={"help": "embedding dimension, source and target"})
    hidden_size: int = field(default=512, metadata={"help": "state size, encoder and decoder"})
    encoder_layers: int = field(default=2, metadata={"help": "number of encoder layers"})
    decoder_layers: int = field(default=2, metadata={"help": "number of decoder layers"})
    attention_heads: int = field(default=8, metadata={"help": "number of attention heads"})
    no_context_aware_encoder: bool = field(
        default=False,
        metadata={
            "help": "bidirectional first encoder layer instead of the context-aware one, and "
            "plain recurrences over input and context in the decoder's upper layers"
        },
    )
    deep_attention: bool = field(
        default=False, metadata={"help": "attention in every decoder layer, not only in the first"}
    )
    no_layer_norm: bool = field(
        default=False, metadata={"help": "no layer norm, neither in the layers nor in the cells"}
    )
    no_feature_layer: bool = field(
        default=False,
        metadata={"help": "no tanh layer over decoder output and context before the output table"},
    )
    layout: ChoiceEnum(LAYOUTS) = field(
        default="zero",
        metadata={
            "help": "layers are as wide as the embedding (zero, the authors' toolkit) or as the "
            "state (paper, their release with the paper); the same where both are equal"
        },
    )
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "share decoder input and output embeddings"}
    )
    share_all_embeddings: bool = field(
        default=False,
        metadata={
            "help": "share encoder, decoder and output embeddings (requires a joined dictionary)"
        },
    )
    mask_extra_symbols: bool = field(
        default=False,
        metadata={
            "help": "give no probability to symbols that are in the target dictionary for "
            "fairseq's sake only: the beginning of sentence, and words that fill it up"
        },
    )
    dropout: float = field(
        default=0.1,
        metadata={"help": "dropout probability: embeddings, layer branches, feature layer"},
    )
    init_scale: float = field(
        default=0.08, metadata={"help": "weights are initialised uniformly in +- this"}
    )
    encoder_layers_to_keep: Optional[str] = field(
        default=None, metadata={"help": "which encoder layers to keep when pruning, e.g. 0,2"}
    )
    decoder_layers_to_keep: Optional[str] = field(
        default=None, metadata={"help": "which decoder layers to keep when pruning, e.g. 0,2"}
    )
    max_source_positions: int = field(
        default=1024, metadata={"help": "longest source sentence, in tokens"}
    )
    max_target_positions: int = field(
        default=1024, metadata={"help": "longest target sentence, in tokens"}
    )

    def check(self) -> None:
        """Refuse values and combinations that make no sense.

        Raises:
            ValueError: names the option and the remedy.
        """
        check_counts(
            self,
            "embed_dim",
            "hidden_size",
            "encoder_layers",
            "decoder_layers",
            "attention_heads",
            "max_source_positions",
            "max_target_positions",
        )
        check_probabilities(self, "dropout")
        check_choices(self, cell=CELLS, activation_fn=ACTIVATIONS, layout=LAYOUTS)
        check_activation(self)
        if not 0.0 < self.init_scale < math.inf:
            raise ValueError(f"--init-scale must be above 0 and finite, not {self.init_scale}")
        check_heads(self, "hidden_size", "attention_heads")
        if self.no_feature_layer and self.layout_size != self.embed_dim:
            raise ValueError(
                "--no-feature-layer with --layout paper requires equal --embed-dim "
                f"({self.embed_dim}) and --hidden-size ({self.hidden_size}): the output table is "
                "as wide as the embedding"
            )

    @property
    def layout_size(self) -> int:
        """Width of every layer's output."""
        return self.embed_dim if str(self.layout) == "zero" else self.hidden_size


def check_counts(config: FairseqDataclass, *names: str) -> None:
    """Refuse numbers below 1."""
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{_option(name)} must be at least 1, not {value}")


def check_widths(config: FairseqDataclass, *names: str) -> None:
    """Refuse numbers below 0."""
    for name in names:
        value = getattr(config, name)
        if value < 0:
            raise ValueError(f"{_option(name)} must be at least 0, not {value}")


def check_heads(config: FairseqDataclass, width: str, heads: str) -> None:
    """Refuse a width that attention heads do not divide."""
    if getattr(config, width) % getattr(config, heads) != 0:
        raise ValueError(
            f"{_option(width)} ({getattr(config, width)}) must be divisible by "
            f"{_option(heads)} ({getattr(config, heads)}); change one of them"
        )


def check_probabilities(config: FairseqDataclass, *names: str) -> None:
    """Refuse what is no probability below 1."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0.0 <= value < 1.0:
            raise ValueError(
                f"{_option(name)} is a probability: at least 0 and below 1, not {value}"
            )


def check_activation(config: FairseqDataclass) -> None:
    """Refuse an activation for a cell that would not hear of it."""
    default = type(config).activation_fn
    if str(config.activation_fn) != default and str(config.cell) not in CELLS_WITH_ACTIVATION:
        raise ValueError(
            f"--activation-fn {config.activation_fn} is for --cell "
            f"{', '.join(CELLS_WITH_ACTIVATION)}; --cell {config.cell} keeps its own "
            "nonlinearities, so leave --activation-fn out"
        )


def check_choices(config: FairseqDataclass, **choices: Sequence[str]) -> None:
    """Refuse what is not among the choices: configurations made in Python are not parsed."""
    for name, values in choices.items():
        value = str(getattr(config, name))
        if value not in values:
            raise ValueError(f"{_option(name)} must be one of {tuple(values)}, not {value}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
