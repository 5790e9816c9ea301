"""Prepared data of a few hundred sentences, and checkpoints of untrained models for them."""

from pathlib import Path
from typing import Any, Dict, Sequence

import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

import fairseq_lrn  # noqa: F401  (registers the models)
from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.data.prepare import PrepareOptions, prepare
from fairseq_lrn.data.prepare_monolingual import MonolingualOptions, prepare_monolingual
from fairseq_lrn.data.text_files import keep
from toy_grammar import generate

SMALL = [
    *("--arch", "lrn_tiny", "--encoder-embed-dim", "16", "--encoder-hidden-size", "12"),
    *("--decoder-embed-dim", "16", "--decoder-hidden-size", "20"),
]


def prepare_data(directory: Path, **changes) -> Path:
    """Write raw text to ``train.en`` and ``train.de`` in *directory*, and prepare ``data``."""
    pairs = generate(300)
    for side, lang in enumerate(("en", "de")):
        write_lines(str(directory / f"train.{lang}"), [pair[side] for pair in pairs])
    prefix = str(directory / "train")
    defaults: Dict[str, Any] = {
        "trainpref": prefix,
        "validpref": prefix,
        "destdir": str(directory / "data"),
    }
    if not {"vocab_from", "bpe_merges"} & changes.keys():
        defaults["vocab_size"] = 300
    prepare(PrepareOptions("en", "de", **{**defaults, **changes}))
    return directory / "data"


def save_checkpoint(path: Path, data: Path, *arguments: str, model: Sequence[str] = SMALL) -> None:
    """Save an untrained model as fairseq does in training.

    Args:
        path: the checkpoint.
        data: prepared data.
        arguments: further options of ``fairseq-train``.
        model: options of the model.
    """
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, [str(data), *model, *arguments])
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)  # so that every test run has the same model
    built = task.build_model(cfg.model)
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": built.state_dict(),
        "optimizer_history": [{**history, "num_updates": 0}],
        "extra_state": {"epoch": 1},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint_utils.torch_persistent_save(state, str(path))


def save_language_model(directory: Path) -> Path:
    """Prepare a small text in ``directory/data``, and save an untrained language model of it.

    Returns:
        the directory of its checkpoint, which has the files of raw text.
    """
    from text_corpus import write_text

    write_text(directory / "train.txt", 120, 1)
    data, checkpoints = directory / "data", directory / "checkpoints"
    prepare_monolingual(
        MonolingualOptions(
            str(directory / "train.txt"),
            str(data),
            validpref=str(directory / "train.txt"),
            words=True,
        )
    )
    checkpoints.mkdir()
    save_checkpoint(
        checkpoints / "checkpoint_last.pt",
        data,
        *("--task", "stateful_language_modeling", "--batch-size", "4"),
        model=["--arch", "lrn_lm", "--decoder-embed-dim", "16", "--decoder-hidden-size", "12"],
    )
    keep(str(data), str(checkpoints))
    return checkpoints
