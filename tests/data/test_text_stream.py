"""A text as a stream: every token is a target once, after the token before it."""

import weakref

import pytest
import torch

from fairseq_lrn.data.text_stream import Segments, Text, TextStream, segment_starts
from fairseq_lrn.errors import InputError

EOS, PAD = 2, 1


def stream(tokens, segments, shard=(0, 1), **options):
    return TextStream(torch.as_tensor(tokens), segments, EOS, PAD, shard, **options)


def read(streams):
    """Pairs of source and target of all processes, in the order of the text."""
    pairs = []
    for part in streams:
        batches = [part[index] for index in range(len(part))]
        assert all(batch["target"].is_contiguous() for batch in batches)
        sources = torch.cat([batch["net_input"]["src_tokens"] for batch in batches], dim=1)
        targets = torch.cat([batch["target"] for batch in batches], dim=1)
        assert [batch["net_input"]["is_continued"] for batch in batches] == [
            index > 0 for index in range(len(batches))
        ]
        for source, target in zip(sources.tolist(), targets.tolist()):
            pairs += [pair for pair in zip(source, target) if pair[1] != PAD]
    return pairs


@pytest.mark.parametrize("length", [11, 60, 61, 97])
@pytest.mark.parametrize("columns", [1, 4, 5])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("varied", [False, True])
def test_every_token_is_predicted_once(length, columns, processes, varied):
    if length < columns * processes:
        pytest.skip("too few tokens")
    tokens = list(range(10, 10 + length))
    segments = Segments(columns, 7, varied=varied)
    streams = [stream(tokens, segments, (index, processes)) for index in range(processes)]
    assert len({len(part) for part in streams}) == 1
    for epoch in (1, 2):
        for part in streams:
            part.set_epoch(epoch)
        assert read(streams) == list(zip([EOS, *tokens], tokens))
        counted = sum(part[index]["ntokens"] for part in streams for index in range(len(part)))
        assert counted == length


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_that_share_the_targets(processes):
    """In evaluation every process reads everything, and predicts its share."""
    tokens = list(range(10, 75))
    streams = [
        stream(tokens, Segments(1, 8), (index, processes), shares_targets=True)
        for index in range(processes)
    ]
    counts = [[part[index]["ntokens"] for index in range(len(part))] for part in streams]
    assert [sum(step) for step in zip(*counts)] == [8] * 8 + [1]
    assert all(sum(count > 0 for count in step) == 1 for step in zip(*counts))
    sources = [torch.cat([p[i]["net_input"]["src_tokens"] for i in range(9)], 1) for p in streams]
    assert all(torch.equal(source, sources[0]) for source in sources)


def test_varied_lengths():
    starts = segment_starts(100_000, Segments(1, 70, True, max_excess=12), 1)
    lengths = (starts[1:] - starts[:-1])[:-1]
    assert lengths.min() >= 5 and lengths.max() <= 82
    short = (lengths < 50).mean()
    assert 0.03 < short < 0.07
    assert abs(lengths[lengths > 50].mean() - 69.5) < 0.5
    assert abs(lengths[lengths < 50].mean() - 34.5) < 2


def test_epochs_and_seeds_have_lengths_of_their_own():
    def starts(seed, epoch):
        return segment_starts(5000, Segments(1, 70, True, 40, seed), epoch).tolist()

    assert starts(1, 1) == starts(1, 1)
    assert starts(1, 1) != starts(1, 2) != starts(2, 1)


def test_too_few_tokens():
    with pytest.raises(InputError, match="has 5 tokens, which are too few for 6 columns"):
        stream(range(5), Segments(3, 7), (0, 2))


def test_segments_of_a_shorter_column():
    """It ends with padding, in sources and targets; batches have 64-bit integers."""
    tokens = torch.arange(10, 15, dtype=torch.int32)
    part = stream(tokens, Segments(2, 2))
    (first, last) = (part[index] for index in range(2))
    assert first["net_input"]["src_tokens"].tolist() == [[EOS, 10], [12, 13]]
    assert last["net_input"]["src_tokens"].tolist() == [[11], [PAD]]
    assert last["target"].tolist() == [[12], [PAD]]
    assert first["target"].dtype == first["net_input"]["src_tokens"].dtype == torch.int64


def test_memory():
    """32 bits for each token, once in a text and once in a stream; no line stays in memory."""
    alive = weakref.WeakSet()

    def lines():
        for number in range(90):
            line = torch.tensor([number + 10, EOS])
            alive.add(line)
            assert len(alive) <= 2
            yield line

    text = Text(lines())
    assert text.tokens.dtype == torch.int32 and len(text) == 180 and not alive
    part = stream(text.tokens, Segments(4, 7))
    held = [value for value in vars(part).values() if isinstance(value, torch.Tensor)]
    assert sum(value.nbytes for value in held) == 4 * (180 + 4)


def test_text():
    text = Text([torch.tensor([5, 6, 2]), torch.tensor([2]), torch.tensor([7, 2])])
    assert text.tokens.tolist() == [5, 6, 2, 2, 7, 2] and len(text) == 6 and int(text[4]) == 7
