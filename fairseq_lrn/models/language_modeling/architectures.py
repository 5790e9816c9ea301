"""Named architectures in addition to the base ``lrn_lm``."""

from fairseq.models import register_model_architecture

from fairseq_lrn.models.defaults import CELLS_WITH_RECURRENT_BIAS, set_defaults


def _paper(args, **sizes) -> None:
    """The options that both of the paper's language models share."""
    set_defaults(
        args,
        plain_layers=True,
        decoder_layers=3,
        share_decoder_input_output_embed=True,
        no_scale_embedding=True,
        embed_init_range=0.1,
        mixture_of_softmaxes=15,
        output_bias=True,
        locked_dropout=True,
        output_dropout=0.4,
        mixture_dropout=0.29,
        type_dropout=0.1,
        no_projection_bias=getattr(args, "cell", "lrn") in CELLS_WITH_RECURRENT_BIAS,
        **sizes,
    )


@register_model_architecture("lrn_lm", "lrn_lm_ptb")
def lrn_lm_ptb(args) -> None:
    """The paper's model for the Penn Treebank: 10.8 million parameters with LRN."""
    _paper(
        args,
        decoder_embed_dim=280,
        decoder_hidden_size=960,
        decoder_out_embed_dim=620,
        decoder_dropout_in=0.4,
        decoder_dropout_out=0.225,
    )


@register_model_architecture("lrn_lm", "lrn_lm_wikitext2")
def lrn_lm_wikitext2(args) -> None:
    """The paper's model for WikiText-2: 20.2 million parameters with LRN."""
    _paper(
        args,
        decoder_embed_dim=300,
        decoder_hidden_size=1150,
        decoder_out_embed_dim=650,
        decoder_dropout_in=0.55,
        decoder_dropout_out=0.2,
    )
