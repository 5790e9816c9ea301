"""Small models and their task, for tests of models and of generation."""

from types import SimpleNamespace

import torch
from fairseq.data import Dictionary

from fairseq_lrn.models import LRNModel, RNMTModel, TransformerLRNModel
from fairseq_lrn.models.translation.lrn_config import LRNConfig
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.models.translation.transformer_lrn_config import TransformerLRNConfig

# With the authors' initial weights, the input would have little effect on a small model.
SMALL_RNMT = {"embed_dim": 16, "hidden_size": 20, "attention_heads": 4, "init_scale": 0.4}
SMALL = {
    "encoder_embed_dim": 16,
    "encoder_hidden_size": 12,
    "encoder_layers": 2,
    "decoder_embed_dim": 16,
    "decoder_hidden_size": 20,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
}
SMALL_TRANSFORMER = {
    **{name: size for name, size in SMALL.items() if name != "encoder_hidden_size"},
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 4,
}


def dictionary(size=30):
    """A dictionary of *size* words in addition to fairseq's special symbols."""
    result = Dictionary()
    for index in range(size):
        result.add_symbol(f"word{index}")
    return result


def joined_task():
    """A task whose source and target dictionaries are the same."""
    joined = dictionary()
    return SimpleNamespace(source_dictionary=joined, target_dictionary=joined)


def builder(model, config_class, small, task):
    """A function that builds a small *model* with the given options, in evaluation mode."""

    def build(**options):
        torch.manual_seed(1)
        config = config_class()
        for name, value in {**small, **options}.items():
            assert hasattr(config, name), name
            setattr(config, name, value)
        return model.build_model(config, task).eval()

    return build


def builders(task):
    """For each model, a function that builds a small model with the given options."""
    return {
        "lrn": builder(LRNModel, LRNConfig, SMALL, task),
        "lrn_rnmt": builder(RNMTModel, RNMTConfig, SMALL_RNMT, task),
        "transformer_lrn": builder(
            TransformerLRNModel, TransformerLRNConfig, SMALL_TRANSFORMER, task
        ),
    }


def batch_maker(task):
    """A function that returns tokens ``B x T`` of sentences with the given lengths.

    Its arguments: *lengths*; *left*, whether padding is on the left; *longest*, a minimum for T.
    """
    generator = torch.Generator().manual_seed(5)
    pad, eos = task.source_dictionary.pad(), task.source_dictionary.eos()

    def batch(lengths, left=True, longest=0):
        generator.manual_seed(5)
        time = max([longest, *lengths])
        tokens = torch.full((len(lengths), time), pad)
        for row, length in zip(tokens, lengths):
            words = torch.randint(4, len(task.source_dictionary), (length,), generator=generator)
            words[-1] = eos
            row[time - length if left else 0 :][:length] = words
        return tokens

    return batch
