"""Prepared data and an untrained model, for tests of scripts that translate."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> str:
    """Directory of prepared data: some sentence pairs of the toy grammar."""
    from fairseq_lrn.data.parallel import write_lines
    from fairseq_lrn.data.prepare import PrepareOptions, prepare
    from toy_grammar import generate

    directory = tmp_path_factory.mktemp("scripts")
    pairs = generate(200)
    for split, part in (("train", pairs), ("valid", pairs[:12]), ("test", pairs[12:24])):
        for side, lang in enumerate(("en", "de")):
            write_lines(str(directory / f"{split}.{lang}"), [pair[side] for pair in part])
    prefixes = {"trainpref": str(directory / "train"), "validpref": str(directory / "valid")}
    destination = str(directory / "data-bin")
    prepare(
        PrepareOptions(
            *("en", "de"),
            **prefixes,
            testpref=[str(directory / "test")],
            destdir=destination,
            vocab_size=200,
        )
    )
    return destination


@pytest.fixture(scope="session")
def save_model(data, tmp_path_factory):
    """A function that saves an untrained model with the given fairseq-train options."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from omegaconf import OmegaConf

    import fairseq_lrn  # noqa: F401  (registers the models)
    from fairseq_lrn import checkpoints

    # An untrained model does not end its translations, so their length is limited.
    limits = ["--max-target-positions", "24"]

    def save_model(*model_options: str, path: Path = None) -> str:
        torch.manual_seed(1)
        path = path or tmp_path_factory.mktemp("model") / "checkpoint.pt"
        args = options.parse_args_and_arch(
            options.get_training_parser(), [data, *limits, *model_options]
        )
        config = convert_namespace_to_omegaconf(args)
        task = tasks.setup_task(config.task)
        model = task.build_model(config.model)
        for parameter in model.parameters():
            parameter.data *= 1.5  # clear differences between the probabilities of tokens
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "args": None,
            "cfg": OmegaConf.to_container(config),
            "model": model.state_dict(),
            "optimizer_history": [{"lr_scheduler_state": {}, "num_updates": 0}],
            "extra_state": {"train_iterator": {"epoch": 1}},
        }
        checkpoints.save(state, str(path))
        return str(path)

    return save_model


@pytest.fixture(scope="session")
def checkpoint(save_model) -> str:
    """Path of an untrained model ``lrn``."""
    return save_model("--arch", "lrn_tiny", "--encoder-layers", "2", "--decoder-layers", "2")
