"""fairseq's beam search with the paper's length penalty, beside the authors' search.

Theirs is another algorithm: it may end a hypothesis with any of twice as many candidates as the
beam is wide, lets hypotheses end without an end of sentence at the length limit, stops by batch,
and generates padding. docs/paper.md has the differences; what must hold is that fairseq's search
finds hypotheses at least as good, with a wide enough beam.
"""

from argparse import Namespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from fairseq.sequence_generator import SequenceGeneratorWithAlignment
from fairseq.tasks import TASK_REGISTRY

from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.generation.length_penalty import (
    GNMTSequenceGenerator,
    GNMTSequenceGeneratorWithAlignment,
)
from fairseq_lrn.models.translation.zero_weights import from_zero
from fairseq_lrn.tasks import LRNTranslationTask
from fairseq_lrn.tasks.translation import LRNTranslationConfig
from parity import having, load, starting_with, vectors

PAD, EOS = 0, 2  # the authors' ids
ZERO, PAPER = vectors("deepnmt"), vectors("deepnmt_paper")
MODELS = having("beam/", {key: ZERO[key] + PAPER[key] for key in ZERO})
SEARCHES = vectors("search")


def score(total, length, alpha):
    """The authors' score of a hypothesis of that log-probability and length."""
    return total / ((5 + length) / 6) ** alpha


def best_found(model, source, beam, limit, alpha, **options):
    """Best score that fairseq's search finds, a hypothesis being cut at the limit as theirs are."""
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
        # fairseq forces an end of sentence behind the limit, and counts what it costs.
        scores = scores[:limit]
        best = max(best, score(scores.sum().item(), len(scores), alpha))
        if len(hypothesis["positional_scores"]) <= limit:
            # With its end of sentence: the score that fairseq sorts by is the authors'.
            assert hypothesis["score"].item() == pytest.approx(
                score(scores.sum().item(), len(scores), alpha), abs=1e-4
            )
    return best


def let_padding_through(model):
    """Make the beginning of sentence a second padding: fairseq never generates padding itself."""
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
        # Behind this many tokens theirs is finished, whatever it is; the batch's longest, before.
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
        # The first token, fairseq's end of sentence, stands for theirs, id 0.
        theirs = torch.zeros_like(prev_output_tokens)
        for number, ours in enumerate(self.ids.tolist()):
            theirs[prev_output_tokens == ours] = number
        theirs[:, 0] = 0
        for step in range(theirs.size(1)):
            state = 0.6 * state + self.table[theirs[:, step]]
        logits = torch.full((len(rows), 1, len(self.dictionary)), -torch.inf)
        logits[:, 0, self.ids] = state
        return logits, {"attn": [None]}

    def max_positions(self):
        return 1000


class Rows(FairseqEncoder):
    """Says which sentence of the recorded batch this is: its only source token."""

    def forward(self, src_tokens, src_lengths):
        return {"encoder_out": [src_tokens[:, :1].t().unsqueeze(-1)]}

    def reorder_encoder_out(self, encoder_out, new_order):
        return {"encoder_out": [encoder_out["encoder_out"][0].index_select(1, new_order)]}

    def max_positions(self):
        return 1000


@pytest.mark.parametrize("path", **SEARCHES)
def test_search_without_a_model(path):
    record, arrays = load(path)
    # Their padding may be generated, so it is an ordinary word here.
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


@pytest.fixture
def task():
    dictionary = Dictionary()
    return lambda penalty: LRNTranslationTask(
        LRNTranslationConfig(length_penalty=penalty), dictionary, dictionary
    )


def test_generators_of_the_task(task):
    assert TASK_REGISTRY["translation_lrn"] is LRNTranslationTask
    model = FairseqEncoderDecoderModel(
        Rows(Dictionary()), Scorer({"table": None, "acc0": None}, torch.arange(4))
    )
    for penalty, alignment, expected in (
        ("gnmt", None, GNMTSequenceGenerator),
        ("gnmt", "hard", GNMTSequenceGeneratorWithAlignment),
        ("power", None, RecurrentSequenceGenerator),
        ("power", "hard", SequenceGeneratorWithAlignment),
    ):
        args = Namespace(beam=3, lenpen=0.6, print_alignment=alignment)
        generator = task(penalty).build_generator([model], args)
        assert type(generator) is expected
        assert generator.len_penalty == 0.6
