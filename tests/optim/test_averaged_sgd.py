"""SGD that averages weights once validation stops improving."""

import copy

import pytest
import torch
from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lrn.optim import AveragedSGD
from fairseq_lrn.optim.averaged_sgd import AveragedSGDConfig


def build(params, **options):
    config = AveragedSGDConfig(**options)
    config.lr = [0.5]
    return AveragedSGD(config, params)


def parameters():
    torch.manual_seed(1)
    return [torch.nn.Parameter(torch.randn(3, 4)), torch.nn.Parameter(torch.randn(5))]


def update(optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    for parameter in optimizer.params:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def copies(params):
    return [parameter.detach().clone() for parameter in params]


def test_is_registered():
    assert OPTIMIZER_REGISTRY["averaged_sgd"] is AveragedSGD


def test_average_of_all_updates():
    params = parameters()
    expected = parameters()
    optimizer = build(params, nonmonotone_interval=0, weight_decay=0.1)
    plain = torch.optim.SGD(expected, lr=0.5, weight_decay=0.1)
    seen = []
    for seed in range(6):
        update(optimizer, seed)
        generator = torch.Generator().manual_seed(seed)
        for parameter in expected:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        plain.step()
        torch.testing.assert_close(params, expected)
        seen.append(copies(params))
    optimizer.begin_evaluation()
    means = [torch.stack(values).mean(0) for values in zip(*seen)]
    torch.testing.assert_close(copies(params), means)
    optimizer.begin_evaluation()  # a second time changes nothing
    torch.testing.assert_close(copies(params), means)
    optimizer.zero_grad()
    assert all(map(torch.equal, params, seen[-1]))


def test_trigger():
    """The loss must exceed the lowest loss before the last two, as in the paper's algorithm."""
    params = parameters()
    optimizer = build(params, nonmonotone_interval=2)
    averaging = []
    for loss in (5.0, 4.0, 4.5, 4.2, 4.4, 4.1):
        optimizer.observe_validation(loss)
        averaging.append(optimizer.param_groups[0]["is_averaging"])
    # 4.5 has no loss before the last two; 4.2 is below 5.0; 4.4 exceeds the lower one of 5.0, 4.0.
    assert averaging == [False, False, False, False, True, True]


def test_before_the_trigger_evaluation_changes_nothing():
    params = parameters()
    optimizer = build(params)
    update(optimizer, 1)
    before = copies(params)
    optimizer.begin_evaluation()
    assert all(map(torch.equal, params, before))


@pytest.mark.parametrize("in_evaluation", [False, True])
def test_resumes_exactly(in_evaluation):
    params = parameters()
    optimizer = build(params, nonmonotone_interval=0)
    for seed in range(3):
        update(optimizer, seed)
    if in_evaluation:
        optimizer.begin_evaluation()
    state, saved = copy.deepcopy(optimizer.state_dict()), copies(params)
    others = [torch.nn.Parameter(value) for value in saved]
    other = build(others, nonmonotone_interval=0)
    other.load_state_dict(state)
    for one in (optimizer, other):
        update(one, 7)
        one.begin_evaluation()
    assert all(map(torch.equal, params, others))


def test_averaging_may_begin_on_resume():
    optimizer = build(parameters())
    update(optimizer, 1)
    params = parameters()
    other = build(params, nonmonotone_interval=0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    seen = []
    for seed in (2, 3):
        update(other, seed)
        seen.append(copies(params))
    other.begin_evaluation()
    means = [torch.stack(values).mean(0) for values in zip(*seen)]
    torch.testing.assert_close(copies(params), means)


def test_bad_options():
    with pytest.raises(ValueError, match="--nonmonotone-interval must be at least 0"):
        build(parameters(), nonmonotone_interval=-1)
    with pytest.raises(ValueError, match="--weight-decay must be at least 0"):
        build(parameters(), weight_decay=-1.0)
