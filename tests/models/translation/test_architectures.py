"""The named architectures: the options that they set, and the options that they leave alone."""

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY

from fairseq_lrn.models import LRNModel, RNMTModel, TransformerLRNModel

SHARED = {"none": (False, False), "target and output": (True, False), "all": (False, True)}
MODELS = {"lrn": LRNModel, "lrn_rnmt": RNMTModel, "transformer_lrn": TransformerLRNModel}


def parse(*arguments):
    """The model's options, as fairseq-train reads them."""
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, ["data", "--arch", *arguments])
    return convert_namespace_to_omegaconf(args).model


def documented(root, arch):
    """The cells of the row of an architecture in docs/model.md, from "embedding, hidden" on."""
    lines = (root / "docs" / "model.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{arch}`") and line.count("|") == 10]
    return [cell.strip() for cell in row.split("|")[2:-1]]


@pytest.mark.parametrize(
    "arch", ["lrn", "lrn_tiny", "lrn_multi30k", "lrn_iwslt_de_en", "lrn_wmt_en_de"]
)
def test_lrn(root, arch):
    args = parse(arch)
    size, layers, activation, norm, heads, dropout, shared, _ = documented(root, arch)
    assert ARCH_MODEL_REGISTRY[arch] is LRNModel
    for side in ("encoder", "decoder"):
        assert getattr(args, f"{side}_embed_dim") == getattr(args, f"{side}_hidden_size")
        assert str(getattr(args, f"{side}_embed_dim")) == size
    assert f"{args.encoder_layers} + {args.decoder_layers}" == layers
    assert (str(args.activation_fn), str(args.decoder_attention_heads)) == (activation, heads)
    assert str(args.dropout) == dropout and args.layernorm_projection == (norm == "yes")
    assert (args.share_decoder_input_output_embed, args.share_all_embeddings) == SHARED[shared]


def test_transformer_lrn_multi30k_has_the_decoder_of_lrn_multi30k():
    args, plain = parse("transformer_lrn_multi30k"), parse("lrn_multi30k")
    assert ARCH_MODEL_REGISTRY["transformer_lrn_multi30k"] is TransformerLRNModel
    names = {name for name in args if name.startswith("decoder_")} | {
        *("activation_fn", "layernorm_projection", "dropout", "share_all_embeddings", "cell"),
        *("encoder_embed_dim", "encoder_layers"),
    }
    assert {name: getattr(args, name) for name in names} == {
        name: getattr(plain, name) for name in names
    }
    assert args.encoder_normalize_before and not args.decoder_normalize_before


@pytest.mark.parametrize("cell", ["lrn", "olrn", "atr", "sru", "gru", "lstm"])
def test_models_of_the_paper(cell):
    """Their sizes: test_rnmt_model.py."""
    args = parse(f"{cell}_rnmt_wmt_en_de")
    assert ARCH_MODEL_REGISTRY[f"{cell}_rnmt_wmt_en_de"] is RNMTModel
    assert (args.cell, args.embed_dim, args.hidden_size) == (cell, 1024, 1024)


@pytest.mark.parametrize("arch", MODELS)
def test_a_base_architecture_has_the_defaults_of_its_model(arch):
    assert ARCH_MODEL_REGISTRY[arch] is MODELS[arch]
    args, config = parse(arch), MODEL_DATACLASS_REGISTRY[arch]()
    for name in ("cell", "dropout", "encoder_layers", "decoder_layers", "share_all_embeddings"):
        assert getattr(args, name) == getattr(config, name), name


def test_options_of_the_command_line_have_priority():
    args = parse("lrn_multi30k", "--dropout", "0.1", "--encoder-layers", "2")
    assert (args.dropout, args.encoder_layers, args.decoder_layers) == (0.1, 2, 4)


def test_activation_is_set_for_cells_that_have_one():
    for cell, activation in (("lrn", "identity"), ("atr", "identity"), ("gru", "tanh")):
        assert str(parse("lrn_multi30k", "--cell", cell).activation_fn) == activation


@pytest.mark.parametrize("arch", ["lrn_multi30k", "lrn_iwslt_de_en", "transformer_lrn_multi30k"])
def test_adaptive_softmax_turns_shared_output_embeddings_off(arch):
    args = parse(arch, "--adaptive-softmax-cutoff", "100")
    assert not args.share_all_embeddings and not args.share_decoder_input_output_embed
