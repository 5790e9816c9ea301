"""The earlier name of the module with InputError."""

import fairseq_lrn
from fairseq_lrn import command, errors


def test_same_class():
    assert command.InputError is errors.InputError is fairseq_lrn.InputError
