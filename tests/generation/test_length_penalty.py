"""fairseq's beam search with the paper's length penalty, compared with the authors' search.

The authors' search is another algorithm: it may end a hypothesis with any of 2 * beam candidates,
lets hypotheses end without EOS at the length limit, stops by batch, and generates padding (see
docs/paper.md). With a wide enough beam, fairseq's search must find hypotheses that are at least as
good.
"""

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder

from fairseq_lrn.generation.length_penalty import GNMTSequenceGenerator
from fairseq_lrn.models.translation.zero_weights import from_zero
from parity import having, load, starting_with, vectors
from searching import LENGTHS, assert_same_hypotheses, sample_of

PAD, EOS = 0, 2  # the authors' ids
ZERO, PAPER = vectors("deepnmt"), vectors("deepnmt_paper")
MODELS = having("beam/", {key: ZERO[key] + PAPER[key] for key in ZERO})
SEARCHES = vectors("search")


def score(total, length, alpha):
    """The authors' score of a hypothesis, from its log-probability and its length."""
    return total / ((5 + length) / 6) ** alpha


def best_found(model, source, beam, limit, alpha, **options):
    """The best score that fairseq's search finds, with hypotheses cut at the authors' limit."""
    generator = GNMTSequenceGenerator(
        [model],
        model.decoder.dictionary,
        beam_size=beam,
        max_len_a=0,
        max_len_b=limit,
        len_penalty=alpha,
        **options,
    )
    lengths = torch.tensor([source.size(1)])
    sample = {"net_input": {"src_tokens": source, "src_lengths": lengths}}
    best = -torch.inf
    for hypothesis in generator(sample)[0]:
        scores = hypothesis["positional_scores"]
        # After the limit, fairseq forces EOS and counts its probability.
        scores = scores[:limit]
        best = max(best, score(scores.sum().item(), len(scores), alpha))
        if len(hypothesis["positional_scores"]) <= limit:
            # With its own EOS, the score by which fairseq sorts is the authors' score.
            assert hypothesis["score"].item() == pytest.approx(
                score(scores.sum().item(), len(scores), alpha), abs=1e-4
            )
    return best


def let_padding_through(model):
    """Make the beginning of sentence a second padding token, because fairseq generates none."""
    pad, bos = model.decoder.padding_idx, model.decoder.dictionary.bos()
    with torch.no_grad():
        for table in (model.decoder.embed_tokens, model.decoder.output_projection):
            table.weight[bos] = table.weight[pad]
    model.decoder.extra_symbols[bos], model.decoder.extra_symbols[pad] = False, True


@pytest.mark.parametrize("path", **MODELS)
def test_as_good_as_the_authors_search(path):
    record, arrays = load(path)
    weights = {k: v.numpy() for k, v in starting_with(arrays, "w/").items()}
    model, source_ids, target_ids = from_zero(weights, record)
    beam = len(target_ids) - 1  # small vocabularies: as wide as fairseq's search can be
    lengths = arrays["src"].ne(PAD).sum(1).tolist()
    has_padding = []
    for row, length in enumerate(lengths):
        # The authors' search ends a hypothesis at this length, in the longest sentence earlier.
        limit = min(length + record["decode_length"] + 1, max(lengths) + record["decode_length"])
        tokens = arrays["beam/seq"][row, 0].tolist()
        tokens = tokens[: tokens.index(EOS) + 1 if EOS in tokens else limit]
        has_padding.append((PAD in tokens, limit))
    for allow_padding in (False, True):
        if allow_padding:
            let_padding_through(model)
        for row, (padded, limit) in enumerate(has_padding):
            if padded == allow_padding:
                source = source_ids[arrays["src"][row : row + 1, : lengths[row]].long()]
                found = best_found(model, source, beam, limit, record["decode_alpha"])
                assert found >= arrays["beam/score"][row, 0].item() - 1e-4, row


class Scorer(FairseqIncrementalDecoder):
    """The recorded search's model: state = 0.6 * state + table[previous token] = logits."""

    def __init__(self, arrays, ids):
        dictionary = Dictionary()
        for index in range(len(ids) - 2):
            dictionary.add_symbol(str(index))
        super().__init__(dictionary)
        self.table, self.start, self.ids = arrays["table"], arrays["acc0"], ids

    def forward(self, prev_output_tokens, encoder_out=None, incremental_state=None):
        rows = encoder_out["encoder_out"][0][0, :, 0]
        state = self.start[rows]
        # fairseq's ids to the authors' ids; the first token, EOS, is id 0 there.
        tokens = torch.zeros_like(prev_output_tokens)
        for index, fairseq_id in enumerate(self.ids.tolist()):
            tokens[prev_output_tokens == fairseq_id] = index
        tokens[:, 0] = 0
        for step in range(tokens.size(1)):
            state = 0.6 * state + self.table[tokens[:, step]]
        logits = torch.full((len(rows), 1, len(self.dictionary)), -torch.inf)
        logits[:, 0, self.ids] = state
        return logits, {"attn": [None]}

    def max_positions(self):
        return 1000


class Rows(FairseqEncoder):
    """Passes on the index of the sentence in the recorded batch, which is its source token."""

    def forward(self, src_tokens, src_lengths):
        return {"encoder_out": [src_tokens[:, :1].t().unsqueeze(-1)]}  # B x 1 to 1 x B x 1

    def reorder_encoder_out(self, encoder_out, new_order):
        return {"encoder_out": [encoder_out["encoder_out"][0].index_select(1, new_order)]}

    def max_positions(self):
        return 1000


@pytest.mark.parametrize("path", **SEARCHES)
def test_search_without_a_model(path):
    record, arrays = load(path)
    # The authors' search may generate padding, so it is an ordinary word here.
    ids = torch.tensor([4, 3, 2, *range(5, record["V"] + 2)])
    model = FairseqEncoderDecoderModel(Rows(Dictionary()), Scorer(arrays, ids))
    lengths = arrays["src_lengths"].tolist()
    for row, length in enumerate(lengths):
        limit = min(length + record["decode_length"] + 1, max(lengths) + record["decode_length"])
        found = best_found(
            model,
            torch.tensor([[row] * length]),
            record["V"],
            limit,
            record["decode_alpha"],
            temperature=record["temperature"],
        )
        assert found >= arrays["search/score"][row, 0].item() - 1e-4, row


def test_same_penalty_in_both_searches(build, batch, task):
    model = build()
    generator = GNMTSequenceGenerator(
        [model], task.target_dictionary, beam_size=4, max_len_b=20, len_penalty=0.8
    )
    sample = sample_of(batch(LENGTHS))
    model.decoder.need_attn = True
    assert generator.unavailable_reason() == "attention weights"
    expected = generator.generate([model], sample)
    for hypothesis in sum(expected, []):
        hypothesis["attention"] = torch.empty(0)
    model.decoder.need_attn = False
    assert generator.unavailable_reason() == ""
    assert_same_hypotheses(generator.generate([model], sample), expected)
