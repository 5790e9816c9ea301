"""Translating with CTranslate2."""

import pytest

from benchmarks import generation_speed
from benchmarks.generation_speed import Candidate

pytest.importorskip("ctranslate2")


def test_translates_with_a_converted_transformer(save_model, data):
    transformer = save_model(
        *("--arch", "transformer", "--encoder-embed-dim", "32", "--decoder-embed-dim", "32"),
        *("--encoder-layers", "1", "--decoder-layers", "1", "--share-all-embeddings"),
        *("--max-target-positions", "256"),  # CTranslate2 decodes up to 200 tokens
    )
    chosen = [Candidate("peer", transformer, (), "float32")]
    (speed,) = generation_speed.measure(data, "fairseq_lrn", chosen, [5], rounds=1)
    assert speed.median > 0 and speed.tokens > 1 and speed.memory is None
    assert 0 <= speed.bleu <= 100
