"""Checkpoints of models of labelled text belong to dictionaries and labels."""

from argparse import Namespace

import pytest

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.models.classification import LRNClassifier, LRNPairClassifier
from fairseq_lrn.models.reading import LRNReader
from fairseq_lrn.models.tagging import LRNTagger
from labelled_tasks import labelled_task

SIZES = Namespace(hidden_size=4, character_embed_dim=4, character_encoder="max")
MODELS = {LRNClassifier: 1, LRNPairClassifier: 2, LRNReader: 2, LRNTagger: 1}


def build(model_class, labels=3, **sizes):
    task = labelled_task(MODELS[model_class], **sizes)
    task.tags = task.tags[:labels]
    every = labels * [True]
    task.allowed_transitions = lambda: (every, labels * [every], every)
    model = model_class.build_model(SIZES, task)
    if hasattr(model, "register_classification_head"):
        model.register_classification_head(HEAD, num_classes=labels)
    return model


@pytest.mark.parametrize("model_class", MODELS)
def test_other_data(model_class):
    state = build(model_class).state_dict()
    build(model_class).load_state_dict(state)
    for sizes in ({"num_words": 40}, {"num_characters": 16}):
        with pytest.raises(InputError, match="the checkpoint has a dictionary of (34|16) entries"):
            build(model_class, **sizes).load_state_dict(state)


@pytest.mark.parametrize("model_class", [LRNClassifier, LRNPairClassifier, LRNTagger])
def test_other_labels(model_class):
    state = build(model_class).state_dict()
    with pytest.raises(InputError, match="the checkpoint has 3 labels, but the data have 2: give"):
        build(model_class, labels=2).load_state_dict(state)
