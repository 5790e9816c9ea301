"""The paper's reader has the numbers of parameters that the authors print."""

from argparse import Namespace

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_lrn.models.reading.reader import LRNReader
from labelled_tasks import labelled_task

# In millions, without the rows of words and characters.
EXPECTED = {"lstm": 2.656, "gru": 2.298, "atr": 1.583, "sru": 2.429, "lrn": 2.127}


@pytest.mark.parametrize("cell", EXPECTED)
def test_parameters(cell):
    args = Namespace(cell=cell)
    ARCH_CONFIG_REGISTRY["lrn_reader_squad"](args)
    model = LRNReader.build_model(args, labelled_task(num_inputs=2))
    tables = (model.input.words, model.input.characters.embedding)
    rows = sum(parameter.numel() for table in tables for parameter in table.parameters())
    found = sum(parameter.numel() for parameter in model.parameters()) - rows
    assert round(found / 1e6, 3) == EXPECTED[cell]
