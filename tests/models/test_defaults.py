"""The defaults of architectures; each architecture has tests of its own."""

from argparse import Namespace

import pytest

from fairseq_lrn.models.defaults import set_defaults


def test_given_options_win():
    args = Namespace(dropout=0.2)
    set_defaults(args, dropout=0.3, decoder_layers=4)
    assert vars(args) == {"dropout": 0.2, "decoder_layers": 4}


@pytest.mark.parametrize("factor, shared", [(None, False), (4.0, False), (1.0, True)])
def test_adaptive_softmax_shares_embeddings_of_its_width_only(factor, shared):
    args = Namespace(adaptive_softmax_cutoff="10")
    if factor is not None:
        args.adaptive_softmax_factor = factor
    set_defaults(args, share_all_embeddings=True)
    assert args.share_all_embeddings is shared
