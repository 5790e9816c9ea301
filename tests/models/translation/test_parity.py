"""Converted models of the authors' toolkit, against everything that their code computed."""

import pytest
import torch
from fairseq.optim.adam import Adam

from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import smoothed_loss
from fairseq_lrn.models.translation.zero_weights import from_zero, zero_variables
from parity import MODEL_TOLERANCE, having, largest_error, load, starting_with, vectors

ZERO, PAPER = vectors("deepnmt"), vectors("deepnmt_paper")
MODELS = {key: ZERO[key] + PAPER[key] for key in ZERO}
WITH_GRADIENTS = having("g/", MODELS)
# The authors' code cannot decode SRU without the context-aware encoder.
WITH_GREEDY = having("greedy/", MODELS)


class Case:
    """A converted model, its recorded batch in the form of fairseq, and its variables by path."""

    def __init__(self, path):
        self.record, self.arrays = load(path)
        weights = {k: v.numpy() for k, v in starting_with(self.arrays, "w/").items()}
        self.model, source_ids, self.target_ids = from_zero(weights, self.record)
        scope = next(iter(weights)).split("/")[0]
        self.variables = {
            f"{scope}/{name}": variable
            for name, variable in zero_variables(
                self.model, self.record["cell"], source_ids, self.target_ids
            )
        }
        self.source = source_ids[self.arrays["src"].long()]
        self.target = self.arrays["tgt"].long()
        eos = torch.full_like(self.target[:, :1], self.model.decoder.dictionary.eos())
        inputs = self.target_ids[self.target]
        # The final EOS is no input of the decoder; fairseq's collater has padding in its place.
        inputs = inputs.masked_fill(self.target == self.record["eos_id"], 1)
        self.prev_output_tokens = torch.cat([eos, inputs[:, :-1]], dim=1)
        self.is_token = self.target != self.record["pad_id"]

    def lprobs(self):
        """Log probabilities ``B x T x V`` of the tokens of the authors' vocabulary."""
        output = self.model(self.source, None, self.prev_output_tokens)
        lprobs = self.model.get_normalized_probs(output, log_probs=True)
        # The authors' vocabulary has no beginning of sentence.
        assert lprobs.exp()[..., self.model.decoder.dictionary.bos()].max() == 0
        return lprobs[..., self.target_ids]

    def sentence_losses(self, eps):
        losses = smoothed_loss(self.lprobs(), self.target, eps)[0] * self.is_token
        return losses.sum(1) / self.is_token.sum(1)


@pytest.fixture(scope="module")
def case(request):
    return Case(request.param)


def assert_close(actual, expected, name):
    error = largest_error(actual, expected)
    assert error <= MODEL_TOLERANCE, f"{name}: {error}"


@pytest.mark.parametrize("case", **MODELS, indirect=True)
def test_encoder(case):
    out = case.model.encoder(case.source)
    columns = case.arrays["enc/mask"].size(1)  # the authors drop columns that are all padding
    memory = out["encoder_out"][0].transpose(0, 1)[:, :columns]  # S x B x H to B x S x H
    assert_close(memory, case.arrays["enc/encodes"], "memory")
    assert torch.equal(~out["encoder_padding_mask"][0][:, :columns], case.arrays["enc/mask"].bool())
    for index, layer in enumerate(case.model.decoder.layers):
        state = layer.initial_state(out["encoder_state"][0])
        assert_close(state, case.arrays[f"enc/dec_init/layer_{index}"], f"state of layer {index}")


@pytest.mark.parametrize("case", **MODELS, indirect=True)
def test_logits_and_losses(case):
    # B*T x V to B x T x V
    expected = case.arrays["dec/logits"].view(len(case.target), -1, len(case.target_ids))
    columns = expected.size(1)
    assert case.is_token.sum() == case.is_token[:, :columns].sum()
    is_token = case.is_token[:, :columns]
    lprobs = case.lprobs()[:, :columns][is_token]
    assert_close(lprobs, expected.log_softmax(-1)[is_token], "log probabilities")
    # The logits agree, too: masking changes the logits of no other token.
    logits = case.model(case.source, None, case.prev_output_tokens)[0][..., case.target_ids]
    assert_close(logits[:, :columns][is_token], expected[is_token], "logits")
    losses = case.sentence_losses(case.record["label_smooth"])
    assert_close(losses.mean(), case.arrays["loss"], "loss")
    if "per_sample_loss" in case.arrays:
        assert_close(losses, case.arrays["per_sample_loss"], "losses of the sentences")
        assert_close(case.sentence_losses(0.0), case.arrays["score"], "scores")


@pytest.mark.parametrize("case", **WITH_GRADIENTS, indirect=True)
def test_gradients(case):
    gradients = starting_with(case.arrays, "g/")
    case.model.zero_grad()
    case.sentence_losses(case.record["label_smooth"]).mean().backward()
    assert gradients.keys() == case.variables.keys()
    for name, expected in gradients.items():
        parameter = case.variables[name].parameter
        assert_close(case.variables[name].select(parameter.grad), expected, name)


@pytest.mark.parametrize("case", **WITH_GREEDY, indirect=True)
def test_greedy_steps(case):
    decoder, cache = case.model.decoder, {}
    encoder_out = case.model.encoder(case.source)
    prefix = torch.full((len(case.source), 1), decoder.dictionary.eos())
    for step, (tokens, logits) in enumerate(
        zip(case.arrays["greedy/tokens_in"].long(), case.arrays["greedy/logits"])
    ):
        if step > 0:
            # The authors' code takes a batch in which all ids are 0 for the first step.
            assert tokens.any()
            prefix = torch.cat([prefix, case.target_ids[tokens].unsqueeze(1)], dim=1)
        actual, _ = decoder(prefix, encoder_out, incremental_state=cache)
        assert_close(actual[:, 0, case.target_ids], logits, f"logits of step {step}")
        states = decoder.get_incremental_state(cache, "recurrence")
        for index in range(len(decoder.layers)):
            expected = case.arrays[f"greedy/state/layer_{index}"][step]
            assert_close(states[f"state{index}"], expected, f"state {index} after step {step}")


@pytest.mark.parametrize("path", [path for path in ZERO["argvalues"] if "trainstep" in path.stem])
def test_two_updates(path):
    case = Case(path)
    optimizer = Adam(case.model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    for update in (1, 2):
        optimizer.zero_grad()
        loss = case.sentence_losses(case.record["label_smooth"]).mean()
        assert_close(loss, case.arrays[f"train/loss_{update}"], f"loss {update}")
        loss.backward()
        optimizer.step()
    after = starting_with(case.arrays, "train/after_2/")
    assert after.keys() == case.variables.keys()
    for name, expected in after.items():
        variable = case.variables[name]
        if not name.endswith("feed_logits/b_0"):  # its gradient is 0 except for rounding
            assert_close(variable.select(variable.parameter), expected, name)


def test_no_recorded_case_is_missing():
    assert (len(ZERO["ids"]), len(PAPER["ids"])) == (21, 4)
    assert (len(WITH_GRADIENTS["ids"]), len(WITH_GREEDY["ids"])) == (5, 24)
