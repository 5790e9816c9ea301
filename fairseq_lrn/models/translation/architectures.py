"""Named architectures in addition to the bases ``lrn``, ``lrn_rnmt`` and ``transformer_lrn``.

As in fairseq, an architecture sets the options that the command line does not set.
"""

from fairseq.models import register_model_architecture

from fairseq_lrn.models.defaults import set_defaults
from fairseq_lrn.modules.cells import CELLS_WITH_ACTIVATION


@register_model_architecture("lrn", "lrn_tiny")
def lrn_tiny(args) -> None:
    """Quick start and tests: width 128, 1 + 1 layers."""
    set_defaults(
        args,
        encoder_embed_dim=128,
        encoder_hidden_size=128,
        encoder_layers=1,
        decoder_embed_dim=128,
        decoder_hidden_size=128,
        decoder_layers=1,
        decoder_attention_heads=4,
    )


def _multi30k(args) -> None:
    """Set the options that both architectures for Multi30k share."""
    if getattr(args, "cell", "lrn") in CELLS_WITH_ACTIVATION:
        set_defaults(args, activation_fn="identity")
    set_defaults(
        args,
        encoder_embed_dim=128,
        encoder_layers=4,
        decoder_embed_dim=128,
        decoder_hidden_size=128,
        decoder_layers=4,
        decoder_attention_heads=4,
        layernorm_projection=True,
        dropout=0.3,
        share_all_embeddings=True,
    )


@register_model_architecture("lrn", "lrn_multi30k")
def lrn_multi30k(args) -> None:
    """Very small corpora (around 30k pairs): width 128, 4 + 4 layers, one embedding matrix."""
    _multi30k(args)
    set_defaults(args, encoder_hidden_size=128)


@register_model_architecture("transformer_lrn", "transformer_lrn_multi30k")
def transformer_lrn_multi30k(args) -> None:
    """Like ``lrn_multi30k``, with the encoder of fairseq's transformer in the same size.

    The encoder is pre-norm. The LRN layers are post-norm, which is also fairseq's default for the
    encoder. With a post-norm encoder, the model learns far more slowly at the learning rate of the
    recipe (docs/appendix.md).
    """
    _multi30k(args)
    set_defaults(
        args,
        encoder_ffn_embed_dim=256,
        encoder_attention_heads=4,
        encoder_normalize_before=True,
    )


@register_model_architecture("lrn", "lrn_iwslt_de_en")
def lrn_iwslt_de_en(args) -> None:
    """Small corpora (around 160k pairs): width 512, 4 + 4 layers."""
    set_defaults(
        args,
        encoder_layers=4,
        decoder_layers=4,
        decoder_attention_heads=4,
        dropout=0.3,
        share_decoder_input_output_embed=True,
    )


@register_model_architecture("lrn", "lrn_wmt_en_de")
def lrn_wmt_en_de(args) -> None:
    """Large corpora: width 1024, 6 + 6 layers, layer norm on the projections of the recurrence."""
    set_defaults(
        args,
        encoder_embed_dim=1024,
        encoder_hidden_size=1024,
        encoder_layers=6,
        decoder_embed_dim=1024,
        decoder_hidden_size=1024,
        decoder_layers=6,
        decoder_attention_heads=16,
        layernorm_projection=True,
        share_decoder_input_output_embed=True,
    )


def _rnmt_wmt_en_de(cell: str):
    """Register the paper's WMT14 English-German model with the cell *cell*."""

    def architecture(args) -> None:
        set_defaults(
            args,
            cell=cell,
            embed_dim=1024,
            hidden_size=1024,
            encoder_layers=6,
            decoder_layers=6,
            share_decoder_input_output_embed=True,
        )

    name = f"{cell}_rnmt_wmt_en_de"
    architecture.__name__ = name
    architecture.__doc__ = f"The paper's WMT14 English-German model with the cell {cell}."
    return register_model_architecture("lrn_rnmt", name)(architecture)


lrn_rnmt_wmt_en_de, olrn_rnmt_wmt_en_de = _rnmt_wmt_en_de("lrn"), _rnmt_wmt_en_de("olrn")
atr_rnmt_wmt_en_de, sru_rnmt_wmt_en_de = _rnmt_wmt_en_de("atr"), _rnmt_wmt_en_de("sru")
gru_rnmt_wmt_en_de, lstm_rnmt_wmt_en_de = _rnmt_wmt_en_de("gru"), _rnmt_wmt_en_de("lstm")
