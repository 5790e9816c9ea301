"""Options of the model ``transformer_lrn``. The names follow fairseq's ``transformer``."""

from dataclasses import dataclass, field

from fairseq_lrn.models.config_checks import check_counts, check_heads, check_probabilities
from fairseq_lrn.models.translation.lrn_config import LRNDecoderConfig


@dataclass
class TransformerLRNConfig(LRNDecoderConfig):
    """Options of the model ``transformer_lrn``. Its encoder has fairseq's options."""

    encoder_ffn_embed_dim: int = field(
        default=2048, metadata={"help": "width of the encoder's feed-forward blocks"}
    )
    encoder_attention_heads: int = field(
        default=8, metadata={"help": "number of attention heads in each encoder layer"}
    )
    encoder_learned_pos: bool = field(
        default=False, metadata={"help": "use learned positional embeddings in the encoder"}
    )
    activation_dropout: float = field(
        default=0.0,
        metadata={
            "help": "dropout probability after the activation in the encoder's feed-forward blocks"
        },
    )

    def check(self) -> None:
        """See :meth:`LRNDecoderConfig.check`."""
        super().check()
        check_counts(self, "encoder_ffn_embed_dim", "encoder_attention_heads")
        check_probabilities(self, "activation_dropout")
        check_heads(self, "encoder_embed_dim", "encoder_attention_heads")
