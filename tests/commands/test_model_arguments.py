"""The arguments of commands that load a trained model."""

import argparse

import pytest

from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model
from fairseq_lrn.errors import InputError


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return parser.parse_args(list(map(str, arguments)))


def test_defaults(untrained):
    translator = load_model(parse(untrained))
    assert translator.raw.source_lang == "en"
    assert str(translator.task.cfg.generation_dtype) == "float32"


def test_all_arguments(untrained, prepared_data):
    path = untrained / "checkpoint_best.pt"
    args = [f"{path}:{path}", "--data", prepared_data, "--device", "cpu"]
    translator = load_model(parse(*args, "--generation-dtype", "bfloat16"))
    assert len(translator.models) == 2 and translator.device.type == "cpu"
    assert translator.task.cfg.data == str(prepared_data)
    assert str(translator.task.cfg.generation_dtype) == "bfloat16"


@pytest.mark.parametrize("command", [("translate", "nowhere"), ("serve", "--port", 80000)])
def test_choice_of_the_checkpoint_is_printed(refuse, untrained, command):
    if command[0] == "serve":
        pytest.importorskip("flask")
        pytest.importorskip("waitress")
    message = refuse(command[0], untrained, *command[1:])
    path = untrained / "checkpoint_best.pt"
    assert f"loading {path} (the best on the validation set)" in message


def test_missing_model(tmp_path):
    with pytest.raises(InputError, match="cannot read checkpoint .*none.pt"):
        load_model(parse(tmp_path / "none.pt"))
