"""Dynamic evaluation against its equations in numpy, for a model whose gradient is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.dynamic_evaluation import (
    DynamicEvaluation,
    dynamic_perplexity,
    perplexity_of,
)
from fairseq_lrn.generation.language_model import load_language_model
from toy_checkpoints import save_checkpoint

V, EOS = 6, 2
OPTIONS = {"lr": 0.05, "decay": 0.3, "epsilon": 0.01, "segment": 3, "columns": 4}


class BigramDecoder(nn.Module):
    """Logits are a row of a table plus a bias; the state counts the tokens that were read."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Parameter(torch.randn(V, V, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(V, dtype=torch.float64))
        self.dictionary = SimpleNamespace(eos=lambda: EOS)
        self.read_before = []

    def read(self, tokens, states=None):
        self.read_before.append(0 if states is None else int(states[0]))
        number = torch.tensor(float(self.read_before[-1] + len(tokens)))
        return self.table[tokens], None, [number]

    def output_layer(self, features):
        return features + self.bias


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = BigramDecoder()

    def get_normalized_probs(self, output, log_probs):
        return torch.log_softmax(output[0], -1)


def numpy_gradients(table, bias, sources, targets):
    """Loss and gradients of the mean cross entropy, derived by hand: p - 1 at the target."""
    table_gradient, bias_gradient, loss = np.zeros_like(table), np.zeros_like(bias), 0.0
    for source, target in zip(sources, targets):
        logits = table[source] + bias
        p = np.exp(logits - logits.max())
        p /= p.sum()
        loss -= np.log(p[target]) / len(sources)
        p[target] -= 1
        table_gradient[source] += p / len(sources)
        bias_gradient += p / len(sources)
    return loss, [table_gradient, bias_gradient]


def segments(columns, length):
    """Sources and targets of each segment of columns ``B x T``."""
    columns = np.asarray(columns)
    sources = np.concatenate([np.full((len(columns), 1), EOS), columns[:, :-1]], axis=1)
    for start in range(0, columns.shape[1], length):
        part = slice(start, start + length)
        yield sources[:, part].reshape(-1), columns[:, part].reshape(-1)


def expected_perplexity(model, text, training, options):
    theta = [p.detach().numpy().copy() for p in (model.decoder.table, model.decoder.bias)]
    start = [value.copy() for value in theta]
    length = len(training) // options["columns"]
    columns = training[: length * options["columns"]].reshape(options["columns"], length)
    squares = [np.zeros_like(value) for value in theta]
    for sources, targets in segments(columns, options["segment"]):
        for square, gradient in zip(squares, numpy_gradients(*theta, sources, targets)[1]):
            square += gradient**2
    s = [np.sqrt(square) for square in squares]
    largest = 1 / options["decay"] if options["decay"] > 0 else np.inf
    r = [np.minimum(one / sum(x.mean() for x in s), largest) for one in s]
    total = 0.0
    for sources, targets in segments(text[None], options["segment"]):
        loss, gradients = numpy_gradients(*theta, sources, targets)
        total += loss * len(sources)
        for i in range(2):
            step = options["lr"] * gradients[i] / (s[i] + options["epsilon"])
            theta[i] = theta[i] + options["decay"] * r[i] * (start[i] - theta[i]) - step
    return math.exp(total / len(text))


@pytest.fixture
def texts():
    torch.manual_seed(4)
    return torch.randint(2, V, (50,)), torch.randint(2, V, (79,))


@pytest.mark.parametrize("changes", [{}, {"decay": 0.0}, {"segment": 7, "columns": 1}])
def test_agrees_with_numpy(texts, changes):
    model, (text, training) = Bigram(), texts
    options = {**OPTIONS, **changes}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    found = dynamic_perplexity(model, text, training, DynamicEvaluation(**options))
    expected = expected_perplexity(model, text.numpy(), training.numpy(), options)
    assert found == pytest.approx(expected, rel=1e-9)
    assert all(map(torch.equal, before, model.parameters()))


def test_state_is_carried(texts):
    model, (text, training) = Bigram(), texts
    dynamic_perplexity(model, text, training, DynamicEvaluation(**OPTIONS))
    text_reads = model.decoder.read_before[-17:]
    assert text_reads == list(range(0, 50, 3))


def test_weights_come_back_after_an_error(texts):
    model, (_, training) = Bigram(), texts
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(IndexError):
        dynamic_perplexity(
            model, torch.tensor([2, 3, 4, 99]), training, DynamicEvaluation(**OPTIONS)
        )
    assert all(map(torch.equal, before, model.parameters()))


def test_learning_lowers_the_perplexity_of_a_repetitive_text(lm_checkpoints):
    model = load_language_model(lm_checkpoints, device="cpu")
    text, training = "a b c d\n" * 40, "d c b a h g f e\n" * 40
    static = model.perplexity(text)
    found = model.dynamic_perplexity(text, training, columns=10)
    assert found < 0.9 * static
    assert model.dynamic_perplexity(text, training, columns=10, lr=0.0) == pytest.approx(static)
    assert model.perplexity(text) == pytest.approx(static)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"segment": 0}, "segment must be a whole number above 0"),
        ({"columns": 2.5}, "columns must be a whole number above 0, not 2.5"),
        ({"lr": -1.0}, "lr must be a number of at least 0"),
        ({"lr": "x"}, "lr must be a number of at least 0, not 'x'"),
        ({"decay": math.inf}, "decay must be a number of at least 0, not inf"),
        ({"epsilon": 0.0}, "epsilon must be a number above 0"),
        ({"columns": 10**6}, "too few for 1000000 columns"),
        ({"rate": 1.0}, "rate is no option of dynamic evaluation: choose from lr, decay, epsilon"),
    ],
)
def test_bad_options(lm_checkpoints, options, message):
    model = load_language_model(lm_checkpoints, device="cpu")
    with pytest.raises(InputError, match=message):
        model.dynamic_perplexity("a b", "a b\n" * 10, **options)


def test_perplexity_beyond_all_numbers():
    assert perplexity_of(2.0) == pytest.approx(math.e**2)
    assert perplexity_of(1e4) == math.inf


@pytest.mark.parametrize("factor", ["1", "2"])
def test_adaptive_softmax(lm_checkpoints, tmp_path, factor):
    """As in the recipes of ptb.sh, with tied tails, and with tails of their own."""
    tied = ["--share-decoder-input-output-embed"] if factor == "1" else []
    save_checkpoint(
        tmp_path / "lm.pt",
        lm_checkpoints.parent / "data",
        *("--task", "stateful_language_modeling", "--batch-size", "2"),
        model=["--arch", "lrn_lm", "--decoder-embed-dim", "8", "--decoder-hidden-size", "8", *tied]
        + ["--adaptive-softmax-cutoff", "5,7", "--adaptive-softmax-factor", factor],
    )
    model = load_language_model(
        tmp_path / "lm.pt", data=lm_checkpoints.parent / "data", device="cpu"
    )
    text, training = "a b c d\n" * 40, "d c b a h g f e\n" * 40
    static = model.perplexity(text)
    fixed = model.dynamic_perplexity(text, training, columns=10, lr=0.0, decay=0.0)
    assert fixed == pytest.approx(static, rel=1e-5)
    assert model.dynamic_perplexity(text, training, columns=10) < 0.9 * static
