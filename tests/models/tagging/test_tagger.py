"""The tagger: padding, batches, the loss of the CRF."""

import pytest
import torch

from fairseq_lrn.models.tagging.tagger import LRNTagger, LRNTaggerConfig
from labelled_tasks import labelled_task, texts

SMALL = {
    "word_embed_dim": 6,
    "character_embed_dim": 5,
    "character_hidden_size": 3,
    "hidden_size": 4,
}


@pytest.fixture
def task():
    return labelled_task()


@pytest.fixture
def build(task):
    def make(**options):
        torch.manual_seed(1)
        cfg = LRNTaggerConfig(**{**SMALL, **options})
        return LRNTagger.build_model(cfg, task).eval()

    return make


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lrn", "layers": 2, "tag_hidden_size": 5, "input_window": 5},
        {"cell": "olrn", "character_encoder": "max"},
        {"cell": "lstm"},
        {"cell": "gru", "character_encoder": "none"},
    ],
)
def test_alone_in_a_batch_padded_left_or_right(build, task, options):
    model = build(**options)
    lengths = [3, 1, 9]
    target = [torch.zeros(length, dtype=torch.long) for length in lengths]
    target[0] = torch.tensor([1, 3, 0])  # B-LOC, E-LOC, O
    results = []
    for left_pad in (False, True):
        batch = texts(task, lengths, left_pad=left_pad)
        tags = torch.zeros_like(batch["src_tokens"])
        for row, (length, wanted) in enumerate(zip(lengths, target)):
            place = slice(9 - length, 9) if left_pad else slice(0, length)
            tags[row, place] = wanted
        scores, extra = model(**batch, target=tags)
        best = model.decode(scores, extra["padding_mask"])
        results.append(
            (
                extra["nll"],
                [best[row, -n:] if left_pad else best[row, :n] for row, n in enumerate(lengths)],
            )
        )
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-4)
    for row, length in enumerate(lengths):
        alone = {n: x[row : row + 1, :length] for n, x in texts(task, lengths).items()}
        scores, extra = model(**alone, target=target[row].unsqueeze(0))
        torch.testing.assert_close(extra["nll"][0], results[0][0][row], rtol=1e-4, atol=1e-4)
        best = model.decode(scores, extra["padding_mask"])[0]
        assert best.tolist() == results[0][1][row].tolist() == results[1][1][row].tolist()


def test_all_predictions_are_legal(build, task):
    starts, follows, ends = task.allowed_transitions()
    model = build()
    batch = texts(task, [30, 12, 1])
    scores, extra = model(**batch)
    best = model.decode(5 * torch.randn_like(scores), extra["padding_mask"])
    for tags, length in zip(best.tolist(), [30, 12, 1]):
        tags = tags[:length]
        assert starts[tags[0]] and ends[tags[-1]]
        assert all(follows[left][right] for left, right in zip(tags, tags[1:]))


def test_gradients_reach_all_parameters(build, task):
    model = build(tag_hidden_size=5).train()
    batch = texts(task, [3, 7])
    _, extra = model(**batch, target=torch.zeros_like(batch["src_tokens"]))
    extra["nll"].sum().backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert missing == []


def test_other_tasks_are_refused(task):
    del task.tags
    with pytest.raises(ValueError, match="lrn_tagger needs --task sequence_tagging"):
        LRNTagger.build_model(LRNTaggerConfig(**SMALL), task)
