"""The device of a trained model; the files of raw text are in test_translator.py and others."""

import pytest
import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.loading import usable_device


def test_devices():
    assert usable_device("cpu") == torch.device("cpu")
    assert usable_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        usable_device("abacus")
