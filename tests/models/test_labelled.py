"""Models of labelled text: checkpoints belong to dictionaries and labels; packed weights."""

import copy
from argparse import Namespace

import pytest
import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.models.classification import LRNClassifier, LRNPairClassifier
from fairseq_lrn.models.reading import LRNReader
from fairseq_lrn.models.tagging import LRNTagger
from fairseq_lrn.modules.linear import Packable, can_pack
from labelled_tasks import dictionary_of, labelled_task, texts

SIZES = Namespace(hidden_size=4, character_embed_dim=4, character_encoder="max")
MODELS = {LRNClassifier: 1, LRNPairClassifier: 2, LRNReader: 2, LRNTagger: 1}


def has_packed_copy(model):
    return any(part.has_packed_copy() for part in model.modules() if isinstance(part, Packable))


def build(model_class, labels=3, **sizes):
    task = labelled_task(MODELS[model_class], **sizes)
    task.tags = task.tags[:labels]
    task.label_dictionary = dictionary_of(task.tags)
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


@pytest.mark.skipif(not can_pack(torch.float32), reason="weights cannot be packed here")
@pytest.mark.parametrize("model_class", MODELS)
@torch.no_grad()
def test_changed_weights_are_packed_again(model_class):
    model, task = build(model_class).eval(), labelled_task(2)
    batch = texts(task, (5, 3))
    if MODELS[model_class] == 2:
        batch.update(texts(task, (4, 6), prefix="other"))
    model.make_generation_fast_()
    model(**batch)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)  # torch keeps no record of it
    expected = copy.deepcopy(model)(**batch)[0]  # a copy has no packed weights
    assert not has_packed_copy(copy.deepcopy(model)) and has_packed_copy(model)
    torch.testing.assert_close(model(**batch)[0], expected)
