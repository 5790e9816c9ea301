"""Translation model ``transformer_lrn``: fairseq's transformer encoder and the LRN decoder.

Translation spends most of its time in the decoder, which runs step by step. There, the small state
of the recurrence saves time. The encoder processes the source in one pass.
"""

from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig, TransformerEncoderBase

from fairseq_lrn.models.base import RecurrentModel, model_options
from fairseq_lrn.models.embedding import build_embeddings
from fairseq_lrn.models.translation.lrn_model import LRNDecoder
from fairseq_lrn.models.translation.transformer_lrn_config import TransformerLRNConfig


@register_model("transformer_lrn", dataclass=TransformerLRNConfig)
class TransformerLRNModel(RecurrentModel):
    """Transformer encoder and LRN decoder (``--arch transformer_lrn``).

    The encoder is fairseq's own class with the same parameters. It has no final state, so the
    initial states of the decoder layers are affine maps of the mean of the encoder output.
    """

    @classmethod
    def build_model(cls, cfg: TransformerLRNConfig, task) -> "TransformerLRNModel":
        """Build a model for a task with ``source_dictionary`` and ``target_dictionary``.

        Raises:
            ValueError: an option has an invalid value or conflicts with another.
        """
        cfg = model_options(TransformerLRNConfig, cfg, task)
        src_dict, tgt_dict = task.source_dictionary, task.target_dictionary
        source, target = build_embeddings(cfg, src_dict, tgt_dict)
        return cls(
            TransformerEncoderBase(encoder_config(cfg), src_dict, source),
            LRNDecoder(cfg, tgt_dict, target, encoder_state_size=cfg.encoder_embed_dim),
        ).follow_task(task)


def encoder_config(cfg: TransformerLRNConfig) -> TransformerConfig:
    """The configuration of fairseq's transformer for the options of the encoder."""
    encoder_cfg = TransformerConfig()
    encoder_cfg.dropout = cfg.dropout
    encoder_cfg.attention_dropout = cfg.attention_dropout
    encoder_cfg.activation_dropout = cfg.activation_dropout
    encoder_cfg.no_scale_embedding = cfg.no_scale_embedding
    encoder_cfg.max_source_positions = cfg.max_source_positions
    encoder_cfg.encoder.embed_dim = cfg.encoder_embed_dim
    encoder_cfg.encoder.ffn_embed_dim = cfg.encoder_ffn_embed_dim
    encoder_cfg.encoder.layers = cfg.encoder_layers
    encoder_cfg.encoder.attention_heads = cfg.encoder_attention_heads
    encoder_cfg.encoder.normalize_before = cfg.encoder_normalize_before
    encoder_cfg.encoder.learned_pos = cfg.encoder_learned_pos
    return encoder_cfg
