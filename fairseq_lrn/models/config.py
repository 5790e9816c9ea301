"""Options of the ``lrn`` model. Names follow fairseq's ``transformer`` and ``lstm``."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_lrn.ops import ACTIVATIONS


@dataclass
class LRNConfig(FairseqDataclass):
    """Defaults are those of architecture ``lrn`` (base), so that they also stand alone."""

    encoder_embed_dim: int = field(
        default=512, metadata={"help": "encoder embedding dimension, and width of its layers"}
    )
    encoder_hidden_size: int = field(
        default=512, metadata={"help": "encoder state size, in each direction"}
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
    activation_fn: ChoiceEnum(ACTIVATIONS) = field(
        default="tanh", metadata={"help": "output activation g of the recurrence"}
    )
    layernorm_projection: bool = field(
        default=False, metadata={"help": "layer norm on the projections of the recurrence"}
    )
    no_projection_bias: bool = field(
        default=False, metadata={"help": "no bias in the projections of the recurrence"}
    )
    output_gate: bool = field(default=False, metadata={"help": "use oLRN: LRN with an output gate"})
    dropout: float = field(default=0.1, metadata={"help": "dropout probability"})
    attention_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability for attention weights"}
    )
    encoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout for encoder embeddings (default: --dropout)"}
    )
    encoder_dropout_out: Optional[float] = field(
        default=None, metadata={"help": "dropout for encoder layer branches (default: --dropout)"}
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
        for name in (
            "encoder_embed_dim",
            "encoder_hidden_size",
            "encoder_layers",
            "decoder_embed_dim",
            "decoder_hidden_size",
            "decoder_layers",
            "decoder_attention_heads",
            "max_source_positions",
            "max_target_positions",
        ):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{_option(name)} must be at least 1, not {value}")
        for name in (
            "dropout",
            "attention_dropout",
            "encoder_dropout_in",
            "encoder_dropout_out",
            "decoder_dropout_in",
            "decoder_dropout_out",
        ):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < 1.0:
                raise ValueError(
                    f"{_option(name)} is a probability: at least 0 and below 1, not {value}"
                )
        if str(self.activation_fn) not in ACTIVATIONS:
            raise ValueError(
                f"--activation-fn must be one of {ACTIVATIONS}, not {self.activation_fn}"
            )
        if self.decoder_embed_dim % self.decoder_attention_heads != 0:
            raise ValueError(
                f"--decoder-embed-dim ({self.decoder_embed_dim}) must be divisible by "
                f"--decoder-attention-heads ({self.decoder_attention_heads}); change one of them"
            )
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


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
