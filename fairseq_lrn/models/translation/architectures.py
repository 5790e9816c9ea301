"""Named architectures, beside the bases ``lrn``, ``lrn_rnmt`` and ``transformer_lrn``.

Like fairseq's, they fill in what the command line leaves open.
"""

from fairseq.models import register_model_architecture

from fairseq_lrn.modules.cells import CELLS_WITH_ACTIVATION


def _set_defaults(args, **defaults) -> None:
    for name, value in defaults.items():
        if name.startswith("share_") and getattr(args, "adaptive_softmax_cutoff", None):
            value = False  # it has output tables of its own
        setattr(args, name, getattr(args, name, value))


@register_model_architecture("lrn", "lrn_tiny")
def lrn_tiny(args) -> None:
    """Quick start and tests: 128 wide, one layer on each side."""
    _set_defaults(
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
    if getattr(args, "cell", "lrn") in CELLS_WITH_ACTIVATION:
        _set_defaults(args, activation_fn="identity")
    _set_defaults(
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
    """Very small corpora (around 30k pairs): 128 wide, four layers on each side, one table."""
    _multi30k(args)
    _set_defaults(args, encoder_hidden_size=128)


@register_model_architecture("transformer_lrn", "transformer_lrn_multi30k")
def transformer_lrn_multi30k(args) -> None:
    """As ``lrn_multi30k``, with the encoder of fairseq's transformer in that size.

    Layer norm is in front of the encoder's branches: with it behind them, as fairseq's default and
    the LRN layers have it, the model learns far more slowly at the recipe's learning rate
    (docs/benchmarks.md).
    """
    _multi30k(args)
    _set_defaults(
        args,
        encoder_ffn_embed_dim=256,
        encoder_attention_heads=4,
        encoder_normalize_before=True,
    )


@register_model_architecture("lrn", "lrn_iwslt_de_en")
def lrn_iwslt_de_en(args) -> None:
    """Small corpora (around 160k pairs): 512 wide, four layers on each side."""
    _set_defaults(
        args,
        encoder_layers=4,
        decoder_layers=4,
        decoder_attention_heads=4,
        dropout=0.3,
        share_decoder_input_output_embed=True,
    )


@register_model_architecture("lrn", "lrn_wmt_en_de")
def lrn_wmt_en_de(args) -> None:
    """Large corpora: 1024 wide, six layers on each side, layer norm on the projections."""
    _set_defaults(
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
    def set_defaults(args) -> None:
        _set_defaults(
            args,
            cell=cell,
            embed_dim=1024,
            hidden_size=1024,
            encoder_layers=6,
            decoder_layers=6,
            share_decoder_input_output_embed=True,
        )

    name = f"{cell}_rnmt_wmt_en_de"
    set_defaults.__name__ = name
    set_defaults.__doc__ = f"The paper's WMT14 English-German model with the cell {cell}."
    return register_model_architecture("lrn_rnmt", name)(set_defaults)


lrn_rnmt_wmt_en_de, olrn_rnmt_wmt_en_de = _rnmt_wmt_en_de("lrn"), _rnmt_wmt_en_de("olrn")
atr_rnmt_wmt_en_de, sru_rnmt_wmt_en_de = _rnmt_wmt_en_de("atr"), _rnmt_wmt_en_de("sru")
gru_rnmt_wmt_en_de, lstm_rnmt_wmt_en_de = _rnmt_wmt_en_de("gru"), _rnmt_wmt_en_de("lstm")
