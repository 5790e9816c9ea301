"""Options of the model ``lrn``. The names follow fairseq's ``transformer`` and ``lstm``."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq_lrn.models.config_checks import (
    check_counts,
    check_heads,
    check_probabilities,
    check_widths,
)
from fairseq_lrn.models.decoder_config import DecoderConfig


@dataclass
class LRNDecoderConfig(DecoderConfig):
    """Options of a model with the LRN decoder and any encoder."""

    encoder_embed_dim: int = field(
        default=512,
        metadata={"help": "encoder embedding dimension, and width of the encoder layers"},
    )
    encoder_layers: int = field(default=2, metadata={"help": "number of encoder layers"})
    encoder_normalize_before: bool = field(
        default=False, metadata={"help": "pre-norm: layer norm before each encoder block"}
    )
    encoder_embed_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "path to pre-trained encoder embeddings (keep the file: generation reads it "
            "again)"
        },
    )
    encoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze encoder embeddings"}
    )
    encoder_layers_to_keep: Optional[str] = field(
        default=None, metadata={"help": "which encoder layers to keep when pruning, e.g. 0,2"}
    )
    decoder_attention_heads: int = field(
        default=8, metadata={"help": "number of attention heads in each decoder layer"}
    )
    decoder_layers_to_keep: Optional[str] = field(
        default=None, metadata={"help": "which decoder layers to keep when pruning, e.g. 0,2"}
    )
    share_all_embeddings: bool = field(
        default=False,
        metadata={
            "help": "share encoder, decoder and output embeddings "
            "(needs a joined dictionary and equal embedding dimensions)"
        },
    )
    attention_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability of the attention weights"}
    )
    max_source_positions: int = field(
        default=1024, metadata={"help": "longest source sentence, in tokens"}
    )
    max_target_positions: int = field(
        default=1024, metadata={"help": "longest target sentence, in tokens"}
    )

    def check(self) -> None:
        """See :meth:`DecoderConfig.check`."""
        super().check()
        check_counts(
            self,
            "encoder_embed_dim",
            "encoder_layers",
            "decoder_attention_heads",
            "max_source_positions",
            "max_target_positions",
        )
        check_probabilities(self, "attention_dropout")
        check_heads(self, "decoder_embed_dim", "decoder_attention_heads")
        self.check_shared_embeddings()

    def check_shared_embeddings(self) -> None:
        """Check ``--share-all-embeddings``, see :meth:`check`."""
        if not self.share_all_embeddings:
            return
        if self.encoder_embed_dim != self.decoder_embed_dim:
            raise ValueError(
                f"--share-all-embeddings requires --encoder-embed-dim ({self.encoder_embed_dim}) "
                f"to match --decoder-embed-dim ({self.decoder_embed_dim})"
            )
        if self.decoder_embed_path and self.decoder_embed_path != self.encoder_embed_path:
            raise ValueError(
                "--share-all-embeddings uses one embedding matrix: give --encoder-embed-path only, "
                "or the same file as --decoder-embed-path"
            )
        if self.encoder_freeze_embed != self.decoder_freeze_embed:
            raise ValueError(
                "--share-all-embeddings uses one embedding matrix: give both "
                "--encoder-freeze-embed and --decoder-freeze-embed, or neither"
            )


@dataclass
class LRNConfig(LRNDecoderConfig):
    """Options of the model ``lrn``."""

    encoder_hidden_size: int = field(
        default=512, metadata={"help": "encoder state size, in each direction"}
    )
    encoder_ffn_embed_dim: int = field(
        default=0,
        metadata={"help": "width of the feed-forward block in each encoder layer; 0: none"},
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
