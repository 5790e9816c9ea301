"""Named architectures in addition to the base ``lrn_tagger``."""

from fairseq.models import register_model_architecture

from fairseq_lrn.models.defaults import CELLS_WITH_IDENTITY, CELLS_WITH_RECURRENT_BIAS, set_defaults


@register_model_architecture("lrn_tagger", "lrn_tagger_conll2003")
def lrn_tagger_conll2003(args) -> None:
    """The paper's model of named entity recognition, for trained vectors of width 100."""
    cell = getattr(args, "cell", "lrn")
    set_defaults(
        args,
        word_embed_dim=100,
        character_encoder="rnn",
        character_embed_dim=25,
        character_hidden_size=25,
        input_dropout=0.5,
        hidden_size=100,
        layers=1,
        activation_fn="identity" if cell in CELLS_WITH_IDENTITY else "tanh",
        tag_hidden_size=100,
        dropout=0.0,
        no_projection_bias=cell in CELLS_WITH_RECURRENT_BIAS,
    )
