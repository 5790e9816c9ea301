"""Named architectures in addition to the base ``lrn_reader``."""

from fairseq.models import register_model_architecture

from fairseq_lrn.models.defaults import CELLS_WITH_IDENTITY, set_defaults


@register_model_architecture("lrn_reader", "lrn_reader_squad")
def lrn_reader_squad(args) -> None:
    """The paper's model of reading comprehension, for fixed vectors of width 300.

    As in the authors' code, the recurrences over characters and of the pointer are GRUs whatever
    ``--cell`` is.
    """
    cell = getattr(args, "cell", "lrn")
    set_defaults(
        args,
        word_embed_dim=300,
        character_encoder="rnn",
        character_embed_dim=8,
        character_hidden_size=100,
        character_cell="gru",
        character_dropout=0.3,
        pointer_cell="gru",
        hidden_size=75,
        layers=3,
        all_layers=True,
        attention_size=75,
        activation_fn="identity" if cell in CELLS_WITH_IDENTITY else "tanh",
        input_dropout=0.3,
        dropout=0.3,
        locked_dropout=True,
    )
