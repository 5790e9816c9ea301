"""Translation model ``transformer_lrn``: fairseq's transformer encoder, and the LRN decoder.

Most of the time of translating goes into the decoder, step by step; there the recurrence's small
state pays. The encoder sees the source at once.
"""

from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig, TransformerEncoderBase

from fairseq_lrn.models.base import RecurrentModel, model_options
from fairseq_lrn.models.embedding import build_embeddings
from fairseq_lrn.models.translation.lrn_model import LRNDecoder
from fairseq_lrn.models.translation.transformer_lrn_config import TransformerLRNConfig


@register_model("transformer_lrn", dataclass=TransformerLRNConfig)
class TransformerLRNModel(RecurrentModel):
    """Transformer encoder, LRN decoder (``--arch transformer_lrn``).

    The encoder is fairseq's own class with its parameters. It has no final state, so the
    decoder's initial states are made of the mean of its output.
    """

    @classmethod
    def build_model(cls, cfg: TransformerLRNConfig, task) -> "TransformerLRNModel":
        """Build a model for a task with ``source_dictionary`` and ``target_dictionary``.

        Raises:
            ValueError: an option has a value that cannot be, or does not go with another.
        """
        cfg = model_options(TransformerLRNConfig, cfg, task)
        src_dict, tgt_dict = task.source_dictionary, task.target_dictionary
        source, target = build_embeddings(cfg, src_dict, tgt_dict)
        return cls(
            TransformerEncoderBase(encoder_config(cfg), src_dict, source),
            LRNDecoder(cfg, tgt_dict, target, encoder_state_size=cfg.encoder_embed_dim),
        )


def encoder_config(cfg: TransformerLRNConfig) -> TransformerConfig:
    """The options of fairseq's encoder."""
    theirs = TransformerConfig()
    theirs.dropout = cfg.dropout
    theirs.attention_dropout = cfg.attention_dropout
    theirs.activation_dropout = cfg.activation_dropout
    theirs.no_scale_embedding = cfg.no_scale_embedding
    theirs.max_source_positions = cfg.max_source_positions
    theirs.encoder.embed_dim = cfg.encoder_embed_dim
    theirs.encoder.ffn_embed_dim = cfg.encoder_ffn_embed_dim
    theirs.encoder.layers = cfg.encoder_layers
    theirs.encoder.attention_heads = cfg.encoder_attention_heads
    theirs.encoder.normalize_before = cfg.encoder_normalize_before
    theirs.encoder.learned_pos = cfg.encoder_learned_pos
    return theirs
