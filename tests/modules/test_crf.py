"""The conditional random field, against an enumeration of all sequences of tags."""

import math

import pytest
import torch

from fairseq_lrn.modules import crf as crf_module
from fairseq_lrn.modules.crf import LinearChainCRF

T, B, K = 6, 5, 3  # the sizes of the fixture padding_mask
# Tag 0 must not be first, 0 must not follow 2, and 1 must not be last.
ALLOWED = (
    torch.tensor([False, True, True]),
    torch.tensor([[True, True, True], [True, True, True], [False, True, True]]),
    torch.tensor([True, False, True]),
)


@pytest.fixture
def in_probability_space(monkeypatch):
    """The slower computation in log space must not be used."""
    monkeypatch.setattr(crf_module, "_log_partition_in_log_space", None)


def make(allowed=None, std=2.0, num_tags=K):
    crf = LinearChainCRF(num_tags, allowed).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return crf


def enumerate_paths(crf, emissions, allowed=None):
    """All allowed sequences of tags for emissions ``n x K``, and their scores."""
    n = len(emissions)
    paths = torch.cartesian_prod(*[torch.arange(K)] * n).view(-1, n)
    if allowed is not None:
        start, transitions, end = allowed
        kept = start[paths[:, 0]] & end[paths[:, -1]]
        for t in range(1, n):
            kept &= transitions[paths[:, t - 1], paths[:, t]]
        paths = paths[kept]
    scores = crf.start[paths[:, 0]] + crf.end[paths[:, -1]]
    for t in range(n):
        scores = scores + emissions[t][paths[:, t]]
        if t > 0:
            scores = scores + crf.transitions[paths[:, t - 1], paths[:, t]]
    return paths, scores


def sequences(padding_mask):
    """The positions of each sequence that has any, with its number."""
    for b in range(padding_mask.size(1)):
        positions = (~padding_mask[:, b]).nonzero()[:, 0]
        if len(positions) > 0:
            yield b, positions


def gold_paths(crf, emissions, padding_mask, allowed):
    """Tags ``T x B`` whose sequences are allowed and differ from one another; 99 at padding."""
    tags = torch.full(padding_mask.shape, 99)
    for b, positions in sequences(padding_mask):
        paths, _ = enumerate_paths(crf, emissions[positions, b], allowed)
        tags[positions, b] = paths[torch.randint(len(paths), ())]
    return tags


def enumerated_nll(crf, emissions, tags, padding_mask, allowed):
    nll = torch.zeros(padding_mask.size(1)).double()
    for b, positions in sequences(padding_mask):
        paths, scores = enumerate_paths(crf, emissions[positions, b], allowed)
        right = (paths == tags[positions, b]).all(1)
        nll[b] = torch.logsumexp(scores, 0) - scores[right].sum()
    return nll


def gradients(nll, crf, emissions):
    weights = torch.linspace(0.5, 2.0, len(nll)).double()
    return torch.autograd.grad((nll * weights).sum(), [emissions, *crf.parameters()])


@pytest.fixture(params=["anywhere", "right", "none"])
def padding(request, padding_mask):
    """Padding ``T x B``. If it is on the right, nothing needs to move."""
    if request.param == "right":
        return torch.arange(T).unsqueeze(1) >= torch.tensor([6, 5, 3, 1, 0])
    return padding_mask if request.param == "anywhere" else torch.zeros_like(padding_mask)


@pytest.mark.parametrize("allowed", [None, ALLOWED], ids=["free", "constrained"])
class TestEnumeration:
    def test_nll_and_gradients(self, padding, allowed, in_probability_space):
        crf = make(allowed)
        emissions = torch.randn(T, B, K).double().requires_grad_(True)
        tags = gold_paths(crf, emissions, padding, allowed)
        expected = enumerated_nll(crf, emissions, tags, padding, allowed)
        found = crf(emissions, tags, padding)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            gradients(found, crf, emissions), gradients(expected, crf, emissions)
        )
        with torch.no_grad():
            torch.testing.assert_close(crf(emissions, tags, padding), expected)

    @pytest.mark.parametrize("extreme", ["emissions", "parameters", "both"])
    def test_extreme_scores(self, padding, allowed, extreme):
        """Scores of -10000, 0, and 10000, where most probabilities underflow."""
        for seed in range(10):
            torch.manual_seed(seed)
            crf = make(allowed)
            emissions = torch.randn(T, B, K).double()
            with torch.no_grad():
                for tensor in [emissions] * (extreme != "parameters"):
                    tensor.copy_(torch.randint(-1, 2, tensor.shape) * 1e4)
                for tensor in list(crf.parameters()) * (extreme != "emissions"):
                    tensor.copy_(torch.randint(-1, 2, tensor.shape) * 1e4)
            emissions.requires_grad_(True)
            tags = gold_paths(crf, emissions, padding, allowed)
            expected = enumerated_nll(crf, emissions, tags, padding, allowed)
            found = crf(emissions, tags, padding)
            assert found.max() > 9000
            torch.testing.assert_close(found, expected)
            torch.testing.assert_close(
                gradients(found, crf, emissions), gradients(expected, crf, emissions)
            )

    def test_decode(self, padding, allowed):
        crf = make(allowed, std=1.0)
        emissions = 3 * torch.randn(T, B, K).double()
        expected = torch.zeros(T, B, dtype=torch.int64)
        for b, positions in sequences(padding):
            paths, scores = enumerate_paths(crf, emissions[positions, b], allowed)
            expected[positions, b] = paths[scores.argmax()]
        assert crf.decode(emissions, padding).tolist() == expected.tolist()
        assert expected.unique().tolist() == [0, 1, 2]

    def test_marginals(self, padding, allowed):
        crf = make(allowed)
        emissions = torch.randn(T, B, K).double()
        expected = torch.zeros(T, B, K).double()
        for b, positions in sequences(padding):
            paths, scores = enumerate_paths(crf, emissions[positions, b], allowed)
            for path, p in zip(paths.tolist(), scores.softmax(0).tolist()):
                for position, tag in zip(positions.tolist(), path):
                    expected[position, b, tag] += p
        found = crf.marginals(emissions, padding)
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad
        with torch.no_grad():
            torch.testing.assert_close(crf.marginals(emissions, padding), expected)
        with torch.inference_mode():
            torch.testing.assert_close(crf.marginals(emissions.clone(), padding), expected)


def test_no_mask_is_no_padding():
    crf = make()
    emissions, tags = torch.randn(T, B, K), torch.randint(K, (T, B))
    none = torch.zeros(T, B, dtype=torch.bool)
    for method, inputs in (
        (crf, (emissions, tags)),
        (crf.decode, [emissions]),
        (crf.marginals, [emissions]),
    ):
        assert torch.equal(method(*inputs), method(*inputs, none))


def test_what_is_not_allowed_has_probability_zero():
    crf = make(ALLOWED)
    emissions = torch.randn(T, B, K).requires_grad_(True)
    with torch.no_grad():
        crf.transitions[2, 0] = 50.0
    marginals = crf.marginals(emissions)
    assert marginals[0, :, 0].eq(0).all() and marginals[-1, :, 1].eq(0).all()
    crf(emissions, torch.full((T, B), 2)).sum().backward()
    assert crf.start.grad[0] == crf.transitions.grad[2, 0] == crf.end.grad[1] == 0
    assert crf.transitions.grad.ne(0).sum() == K * K - 1
    assert list(crf.state_dict()) == ["start", "transitions", "end"]


def test_boundaries_learn_under_padding():
    """With padding at the end or at the start, the scores of both ends have gradients."""
    for mask in (torch.arange(T) >= T - 2, torch.arange(T) < 2):
        crf = make()
        crf(torch.randn(T, 1, K), torch.ones(T, 1, dtype=torch.int64), mask.unsqueeze(1)).backward()
        for parameter in (crf.start, crf.end):
            # The expected number of each tag at that end, minus the right tag.
            assert parameter.grad.argmin() == 1 and parameter.grad.ne(0).all()
            assert parameter.grad.sum().abs() < 1e-12


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_padding_is_not_read(scale, monkeypatch):
    if scale == 1.0:
        monkeypatch.setattr(crf_module, "_log_partition_in_log_space", None)
    crf = make()
    emissions, tags = scale * torch.randn(T, 2, K).double(), torch.randint(K, (T, 2))
    mask = torch.zeros(T, 2, dtype=torch.bool)
    mask[4:, 0] = True
    expected = crf(emissions[:4, :1], tags[:4, :1])
    emissions[4:, 0] = math.nan
    emissions.requires_grad_(True)
    found = crf(emissions, tags, mask)
    torch.testing.assert_close(found[:1], expected)
    found.sum().backward()
    assert emissions.grad[4:, 0].eq(0).all()
    for tensor in (emissions, *crf.parameters()):
        assert tensor.grad.isfinite().all()
    assert crf.marginals(emissions, mask)[4:, 0].eq(0).all()


def log_space_nll(crf, emissions, tags):
    """One sequence, with a plain loop."""
    log_alpha = crf.start + emissions[0]
    score = crf.start[tags[0]] + emissions[0, tags[0]]
    for t in range(1, len(emissions)):
        log_alpha = torch.logsumexp(log_alpha.unsqueeze(1) + crf.transitions, 0) + emissions[t]
        score = score + crf.transitions[tags[t - 1], tags[t]] + emissions[t, tags[t]]
    return torch.logsumexp(log_alpha + crf.end, 0) - score - crf.end[tags[-1]]


def test_long_sequences(in_probability_space):
    long = 2000
    crf = make()
    emissions = (3 * torch.randn(long, 2, K).double()).requires_grad_(True)
    tags, mask = torch.randint(K, (long, 2)), torch.zeros(long, 2, dtype=torch.bool)
    mask[1500:, 1] = True
    found = crf(emissions, tags, mask)
    expected = torch.stack(
        [
            log_space_nll(crf, emissions[:, 0], tags[:, 0]),
            log_space_nll(crf, emissions[:1500, 1], tags[:1500, 1]),
        ]
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        gradients(found, crf, emissions), gradients(expected, crf, emissions)
    )
    assert expected.min() > 1000


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    "start, transition, emissions",
    [
        # No step is extreme, but in the middle, the sequence underflows in both directions.
        (0.0, 0.0, [-20.0] * 40 + [45.0] * 40 + [-20.0] * 40),
        (0.0, 0.0, [-800.0] + [45.0] * 20),
        (-800.0, 45.0, [0.0] * 21),
    ],
)
def test_a_sequence_that_is_improbable_for_a_time(start, transition, emissions, grad):
    """Two sequences are possible: tag 0 everywhere scores 0, and tag 1 everywhere 200 or 100."""
    crf = LinearChainCRF(2, (torch.ones(2), torch.eye(2), torch.ones(2)))
    length = len(emissions)
    scores = torch.zeros(length, 1, 2)
    scores[:, 0, 1] = torch.tensor(emissions)
    with torch.no_grad():
        crf.start.copy_(torch.tensor([0.0, start]))
        crf.transitions.copy_(torch.tensor([[0.0, 0.0], [0.0, transition]]))
        crf.end.zero_()
    best = start + (length - 1) * transition + sum(emissions)
    assert best >= 100
    tags = torch.zeros(length, 1, dtype=torch.int64)
    crf.requires_grad_(grad)
    assert crf(scores, tags).item() == pytest.approx(best)
    assert crf(scores, tags + 1).item() == pytest.approx(0.0)
    assert crf.marginals(scores)[:, 0].tolist() == [pytest.approx([0.0, 1.0])] * length
    assert crf.decode(scores).eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_types(dtype):
    crf = make().float()
    emissions, tags = torch.randn(T, B, K).to(dtype), torch.randint(K, (T, B))
    expected = crf.double()(emissions.double(), tags).float()
    crf.float()
    emissions.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = crf(emissions, tags)
        assert crf.marginals(emissions).sum(2) == pytest.approx(1.0, abs=1e-6)
        assert crf.decode(emissions).dtype == torch.int64
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found.sum().backward()
    assert emissions.grad.dtype == dtype


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0, 0)])
def test_nothing(shape):
    crf = make()
    emissions = torch.zeros(*shape, K, requires_grad=True)
    nll = crf(emissions, torch.zeros(shape, dtype=torch.int64))
    nll.sum().backward()
    assert nll.tolist() == [0.0] * shape[1]
    assert crf.decode(emissions).shape == shape
    assert crf.marginals(emissions).shape == (*shape, K)


def test_nothing_but_padding():
    crf = make(ALLOWED)
    emissions = torch.randn(2, 2, K, requires_grad=True)
    mask = torch.ones(2, 2, dtype=torch.bool)
    nll = crf(emissions, torch.full((2, 2), -1), mask)
    nll.sum().backward()
    assert nll.tolist() == [0.0, 0.0]
    for tensor in (emissions, *crf.parameters()):
        assert tensor.grad.eq(0).all()
    assert crf.decode(emissions, mask).eq(0).all()
    assert crf.marginals(emissions, mask).eq(0).all()


@pytest.mark.parametrize(
    "tags, message",
    [
        ([0, 0, 0], "sequence 1, position 2: tag 0 is not allowed at the start"),
        ([1, 2, 0], "sequence 1, position 4: tag 0 is not allowed after tag 2"),
        ([1, 0, 1], "sequence 1, position 4: tag 1 is not allowed at the end"),
    ],
)
def test_tags_that_are_not_allowed(tags, message):
    crf = make(ALLOWED)
    batch = torch.full((5, 2), 2)
    mask = torch.zeros(5, 2, dtype=torch.bool)
    mask[[0, 1], 1] = True
    batch[:2, 1] = 0  # padding is not checked
    crf(torch.randn(5, 2, K), batch, mask)
    batch[2:, 1] = torch.tensor(tags)
    with pytest.raises(ValueError, match=message):
        crf(torch.randn(5, 2, K), batch, mask)


def test_no_sequence_is_allowed():
    """Tag 0 must be first, 1 must follow it and be last, so each sequence has two tags."""
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    crf = LinearChainCRF(2, (first, first.unsqueeze(1) & second, second))
    emissions = torch.randn(3, 3, 2)
    mask = torch.tensor([[False, False, True], [False, False, True], [True, True, True]])
    assert crf.decode(emissions, mask).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    mask[2, 1] = False
    for method in (crf.decode, crf.marginals):
        with pytest.raises(ValueError, match="no sequence of 3 tags is allowed"):
            method(emissions, mask)


def test_wrong_arguments():
    yes, no = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    square = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"allowed transitions must be \(2, 2\), not \(2,\)"):
        LinearChainCRF(2, (yes, yes, yes))
    with pytest.raises(ValueError, match="allowed end leave no possible tag"):
        LinearChainCRF(2, (yes, square, no))
    crf = make()
    emissions, tags = torch.randn(T, B, K), torch.zeros(T, B, dtype=torch.int64)
    with pytest.raises(ValueError, match="emissions must be T x B x 3, not "):
        crf(emissions[..., :2], tags)
    with pytest.raises(ValueError, match=r"tags must be \(6, 5\), as the emissions are, not"):
        crf(emissions, tags.t())
    with pytest.raises(ValueError, match=r"padding_mask must be \(6, 5\)"):
        crf.decode(emissions, torch.zeros(B, T, dtype=torch.bool))
    for tag in (-1, K):
        with pytest.raises(RuntimeError, match="out of bounds"):
            make(ALLOWED)(emissions, tags + tag)


def test_type_of_the_mask():
    emissions, mask = torch.randn(3, 2, 4), torch.zeros(3, 2)
    for dtype in (torch.uint8, torch.float32):
        with pytest.raises(TypeError, match="padding_mask must be torch.bool, not torch."):
            LinearChainCRF(4).decode(emissions, mask.to(dtype))


def test_no_second_derivatives():
    crf = make()
    nll = crf(torch.randn(T, B, K), torch.randint(K, (T, B)))
    with pytest.raises(RuntimeError, match="LinearChainCRF has no second derivatives"):
        torch.autograd.grad(nll.sum(), crf.transitions, create_graph=True)


def test_agrees_with_pytorch_crf():
    torchcrf = pytest.importorskip("torchcrf")
    num_tags, time, batch = 7, 12, 4
    crf, peer = make(num_tags=num_tags), torchcrf.CRF(num_tags).double()
    pairs = [
        (crf.start, peer.start_transitions),
        (crf.transitions, peer.transitions),
        (crf.end, peer.end_transitions),
    ]
    with torch.no_grad():
        for own, other in pairs:
            other.copy_(own)
    emissions = torch.randn(time, batch, num_tags).double()
    tags = torch.randint(num_tags, (time, batch))
    mask = torch.arange(time).unsqueeze(1) >= torch.tensor([12, 9, 1, 5])
    nll = crf(emissions, tags, mask)
    expected = -peer(emissions, tags, ~mask, reduction="none")
    torch.testing.assert_close(nll, expected)
    nll.sum().backward()
    expected.sum().backward()
    for own, other in pairs:
        torch.testing.assert_close(own.grad, other.grad)
    decoded = crf.decode(emissions, mask)
    for b, best in enumerate(peer.decode(emissions, ~mask)):
        assert decoded[: len(best), b].tolist() == best


def test_marginals_with_a_mask_of_inference_mode():
    """Also with scores so different that the computation changes to logarithms."""
    crf = LinearChainCRF(3)
    emissions = torch.zeros(4, 2, 3)
    emissions[1, 0, 0] = 500.0
    with torch.inference_mode():
        mask = torch.tensor([[False, False]] * 3 + [[False, True]])
        found = crf.marginals(emissions, mask)
    assert found[1, 0, 0] == 1 and (found[3, 1] == 0).all()
