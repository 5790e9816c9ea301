"""The paper's tagger has the numbers of parameters that the authors print."""

from argparse import Namespace

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_lrn.models.tagging.tagger import LRNTagger
from labelled_tasks import labelled_task

# In thousands, with ten tags, without the rows of words and characters.
EXPECTED = {"lstm": 232.2, "gru": 179.5, "atr": 74.2, "sru": 147.7, "lrn": 115.7}


@pytest.mark.parametrize("cell", EXPECTED)
def test_parameters(cell):
    args = Namespace(cell=cell)
    ARCH_CONFIG_REGISTRY["lrn_tagger_conll2003"](args)
    task = labelled_task()
    task.tags = [str(number) for number in range(10)]
    task.allowed_transitions = lambda: (10 * [True], 10 * [10 * [True]], 10 * [True])
    model = LRNTagger.build_model(args, task)
    words = sum(parameter.numel() for parameter in model.input.words.parameters())
    found = sum(parameter.numel() for parameter in model.parameters()) - words
    assert (found - 25 * (12 + 4)) / 1e3 == pytest.approx(EXPECTED[cell], abs=0.06)
