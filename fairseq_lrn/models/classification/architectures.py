"""Named architectures in addition to the bases ``lrn_classifier`` and ``lrn_pair_classifier``."""

from fairseq.models import register_model_architecture

from fairseq_lrn.models.defaults import set_defaults


@register_model_architecture("lrn_classifier", "lrn_classifier_paper")
def lrn_classifier_paper(args) -> None:
    """The paper's classifier of documents, for fixed vectors of width 300."""
    set_defaults(
        args,
        word_embed_dim=300,
        character_encoder="max",
        character_embed_dim=32,
        character_dropout=0.05,
        hidden_size=64,
        layers=1,
        pooling="attention",
        pooling_hidden_size=64,
        pooling_dropout=0.1,
        word_dropout=0.1,
        dropout=0.0,
    )


@register_model_architecture("lrn_pair_classifier", "lrn_pair_classifier_snli")
def lrn_pair_classifier_snli(args) -> None:
    """The paper's model of natural language inference, for fixed vectors of width 300."""
    set_defaults(
        args,
        word_embed_dim=300,
        character_encoder="max",
        character_embed_dim=64,
        character_dropout=0.15,
        hidden_size=300,
        attention_heads=4,
        pooling="attention",
        pooling_hidden_size=300,
        pooling_dropout=0.1,
        dropout=0.0,
    )
