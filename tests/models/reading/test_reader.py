"""The reader: every cell, padding, options, and that it learns."""

from argparse import Namespace

import pytest
import torch
import torch.nn.functional as F

from fairseq_lrn.models.reading.reader import LRNReader
from fairseq_lrn.modules.cells import CELLS
from labelled_tasks import labelled_task, texts

SMALL = {
    "word_embed_dim": 8,
    "character_embed_dim": 4,
    "character_hidden_size": 3,
    "hidden_size": 5,
    "attention_size": 6,
}


def build(task=None, **options):
    torch.manual_seed(1)
    return LRNReader.build_model(Namespace(**{**SMALL, **options}), task or labelled_task(2))


def batch(questions=(3, 2), contexts=(7, 9), left_pad=False, widths=(None, None)):
    task = labelled_task(2)
    return {
        **texts(task, questions, left_pad, "src", widths[0]),
        **texts(task, contexts, left_pad, "other", widths[1]),
    }


@pytest.mark.parametrize("cell", CELLS)
def test_every_recurrence_has_the_cell(cell):
    model = build(cell=cell)
    names = {type(module).__name__ for module in model.modules() if hasattr(module, "state_size")}
    expected = {type(module).__name__ for module in build(cell=cell).layers[0].modules()}
    assert {name for name in names if name.endswith("Cell")} == {
        name for name in expected if name.endswith("Cell")
    }
    scores = model(**batch())
    assert [tuple(one.shape) for one in scores] == [(2, 9), (2, 9)]
    sum(one.logsumexp(1).sum() for one in scores).backward()
    without = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()
    ]
    assert without == []


def test_characters_and_pointer_can_have_another_cell():
    model = build(character_cell="gru", pointer_cell="lstm")
    assert type(model.input.characters.recurrence.cells[0]).__name__ == "GRUCell"
    assert type(model.pointer.cell).__name__ == "LSTMCell"
    assert type(model.layers[0].recurrence.cells[0]).__name__ == "LRNCell"


@pytest.mark.parametrize("cell", CELLS)
def test_no_bias_of_projections(cell):
    """Also where the pointer's cell is named."""
    model = build(cell=cell, no_projection_bias=True, pointer_cell=cell)
    biases = [name for name, _ in model.named_parameters() if name.endswith("projection.bias")]
    assert biases == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    expected = build().eval()(**batch())
    found = build().eval().to(dtype)(**batch())
    for scores, right in zip(found, expected):
        torch.testing.assert_close(scores, right, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("cell", ("lrn", "lstm"))
@pytest.mark.parametrize("match", (False, True))
@pytest.mark.parametrize("window", (1, 3))
def test_scores_do_not_depend_on_the_batch(cell, match, window):
    model = build(
        cell=cell, match_feature=match, align_words=match, align_product=match, input_window=window
    ).eval()
    together = model(**batch())
    left = model(**batch(left_pad=True, widths=(5, 12)))
    for row, (question, context) in enumerate(((3, 7), (2, 9))):
        one = {name: value[row : row + 1] for name, value in batch().items()}
        one = {
            name: value[:, : question if name.startswith("src") else context]
            for name, value in one.items()
        }
        alone = model(**one)
        for index in range(2):
            torch.testing.assert_close(alone[index][0], together[index][row, :context])
            torch.testing.assert_close(alone[index][0], left[index][row, 12 - context :])
            assert (together[index][row, context:] == -1e9).all()


def test_residual_layers():
    """What each part reads is the sum of the outputs of all recurrent layers before it."""
    model = build(residual_layers=True, layers=2).eval()
    read, outputs = {}, []
    layers = [*model.layers, model.question_layer, model.self_layer]
    for layer in layers:
        layer.register_forward_hook(lambda _, __, output: outputs.append(output[0]))
    for name in ("summary", "question_attention", "self_attention", "pointer"):
        module = getattr(model, name)
        module.register_forward_hook(lambda _, x, __, name=name: read.update({name: x[0]}))
    model(**batch())
    *question, first, second, third, fourth = outputs
    assert torch.equal(read["summary"], question[0] + question[1])
    assert torch.equal(read["question_attention"], first + second)
    assert torch.equal(read["self_attention"], third + (first + second))
    assert torch.equal(read["pointer"], fourth + (third + (first + second)))


def test_it_learns():
    # The answer is the word of the context that the question has.
    model = build(match_feature=True, character_encoder="none", dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        context = torch.stack([torch.randperm(30)[:8] + 4 for _ in range(16)])
        place = torch.randint(8, (16, 1))
        question = context.gather(1, place)
        loss = sum(F.cross_entropy(one, place[:, 0]) for one in model(question, context))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5  # by chance 4.2


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"attention_size": 0}, "--attention-size must be at least 1"),
        ({"character_cell": "rnn"}, "--character-cell must be one of"),
        ({"pointer_cell": "rnn"}, "--pointer-cell must be one of"),
        ({"cell": "rnn"}, "--cell must be one of"),
    ),
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
