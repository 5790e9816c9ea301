"""The defaults of architectures; each architecture has tests of its own."""

from argparse import Namespace

from fairseq_lrn.models.defaults import set_defaults


def test_given_options_win():
    args = Namespace(dropout=0.2)
    set_defaults(args, dropout=0.3, decoder_layers=4)
    assert vars(args) == {"dropout": 0.2, "decoder_layers": 4}


def test_adaptive_softmax_shares_no_embeddings():
    args = Namespace(adaptive_softmax_cutoff="10")
    set_defaults(args, share_all_embeddings=True)
    assert args.share_all_embeddings is False
