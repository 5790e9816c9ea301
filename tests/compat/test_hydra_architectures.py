"""fairseq-hydra-train applies architectures, as fairseq-train does."""

import argparse

import pytest
from fairseq.dataclass import utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from fairseq.models import ARCH_CONFIG_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.models.transformer_lm import TransformerLanguageModelConfig
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from fairseq_lrn.compat.hydra_architectures import patch_architectures


@pytest.fixture
def configure():
    """A function that completes a configuration of a model like fairseq-hydra-train."""
    patch_architectures()  # applied already

    def configure(**model):
        cfg = OmegaConf.structured(FairseqConfig())
        OmegaConf.set_struct(cfg, False)
        with open_dict(cfg):
            cfg.model = OmegaConf.create(model)
            cfg.task = OmegaConf.create({"_name": "language_modeling", "data": "here"})
        add_defaults(cfg)
        return cfg.model

    return configure


@pytest.mark.parametrize(
    "name", ["lrn_tiny", "lrn_multi30k", "lrn_rnmt_wmt_en_de", "transformer_lm_gpt"]
)
def test_sizes_of_the_architecture(configure, name):
    args = argparse.Namespace()
    ARCH_CONFIG_REGISTRY[name](args)
    model = configure(_name=name)
    sizes = {key: value for key, value in vars(args).items() if key in model}
    assert "decoder_layers" in sizes and {key: model[key] for key in sizes} == sizes
    assert model._name == name


def test_options_of_the_user_take_precedence(configure):
    model = configure(_name="lrn_tiny", decoder_layers=2, encoder_embed_dim=512)
    assert (model.decoder_layers, model.encoder_embed_dim) == (2, 512)
    assert (model.encoder_layers, model.decoder_embed_dim) == (1, 128)


def test_model_without_an_architecture(configure):
    assert configure(_name="lrn").decoder_embed_dim == 512


@pytest.mark.parametrize("in_hydra", [True, False])
def test_complete_configuration(configure, monkeypatch, caplog, in_hydra):
    """fairseq has filled in defaults that it may have taken for those of the architecture."""
    monkeypatch.setattr(HydraConfig, "initialized", lambda: in_hydra)
    complete = OmegaConf.to_container(OmegaConf.structured(TransformerLanguageModelConfig()))
    model = configure(**{**complete, "_name": "transformer_lm_gpt", "decoder_layers": 7})
    assert (model.decoder_layers, model.decoder_embed_dim) == (7, 512)
    message = "does not apply the architecture transformer_lm_gpt: "
    assert (message in caplog.text) == in_hydra
    assert ("decoder_embed_dim is 512, not 768" in caplog.text) == in_hydra
    assert "decoder_layers" not in caplog.text  # the user's choice


def test_other_parts_of_the_options():
    dataclass = MODEL_DATACLASS_REGISTRY["lrn"]
    merged = utils.merge_with_parent(dataclass(), OmegaConf.create({"_name": "lrn_tiny"}))
    assert merged.decoder_embed_dim == 512  # an instance: a model is built from a checkpoint
