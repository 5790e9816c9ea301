"""The paper's classifiers have the numbers of parameters that the authors print.

The expected numbers are those of a reading of the authors' code; their README rounds them.
"""

from argparse import Namespace

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.models.classification.classifier import LRNClassifier
from fairseq_lrn.models.classification.pair_classifier import LRNPairClassifier
from labelled_tasks import labelled_task

CHARACTERS = 12 + 4


def count(model_class, architecture, cell, classes, num_inputs, **options):
    """Parameters without the rows of words, as the authors fix all but three of them."""
    args = Namespace(cell=cell, **options)
    ARCH_CONFIG_REGISTRY[architecture](args)
    model = model_class.build_model(args, labelled_task(num_inputs))
    model.register_classification_head(HEAD, num_classes=classes)
    words = sum(parameter.numel() for parameter in model.input.words.parameters())
    return sum(parameter.numel() for parameter in model.parameters()) - words


# In thousands, without the rows of words and characters.
DOCUMENTS = {"lstm": 222.6, "gru": 171.6, "atr": 69.7, "sru": 189.5, "lrn": 146.7}
# In millions.
PAIRS = {"lstm": 8.361, "gru": 6.408, "atr": 2.863, "sru": 5.476, "lrn": 4.241}


@pytest.mark.parametrize("cell", DOCUMENTS)
def test_documents(cell):
    found = count(LRNClassifier, "lrn_classifier_paper", cell, classes=2, num_inputs=1)
    trained_rows = 3 * 300  # of pad, unknown and end
    assert (found + trained_rows - 32 * CHARACTERS) / 1e3 == pytest.approx(
        DOCUMENTS[cell], abs=0.06
    )


@pytest.mark.parametrize("cell", PAIRS)
def test_pairs(cell):
    found = count(LRNPairClassifier, "lrn_pair_classifier_snli", cell, classes=3, num_inputs=2)
    trained_rows = 3 * 300
    assert (found + trained_rows - 64 * CHARACTERS) / 1e6 == pytest.approx(PAIRS[cell], abs=6e-4)
