"""Convert a model that the LRN authors' toolkit (bzhangGo/zero) trained into a fairseq checkpoint.

The variables come from an .npz file, under their TensorFlow paths. In an environment with
TensorFlow, this writes the file:

    reader = tf.train.load_checkpoint(checkpoint)
    names = reader.get_variable_to_shape_map()
    numpy.savez("model.npz", **{name: reader.get_tensor(name) for name in names})

The parameters are the toolkit's param.json. For a model of the code that was released with the
paper (bzhangGo/lrn), add "variant": "paper" to it.

Writes model.pt and both dictionaries to DIR. To translate, segment the text as for the toolkit, run
fairseq-preprocess --srcdict DIR/dict.SRC.txt --tgtdict DIR/dict.TRG.txt, and then:

    fairseq-generate data-bin/mine --user-dir fairseq_lrn --path DIR/model.pt --remove-bpe \\
        --task translation_lrn --length-penalty gnmt --beam 4 --lenpen 0.6 \\
        --required-batch-size-multiple 1
"""

import argparse
import json
import os
from dataclasses import asdict
from typing import Any, Dict, List

import numpy as np
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks.translation import TranslationConfig
from omegaconf import OmegaConf

from fairseq_lrn import checkpoints
from fairseq_lrn.data.parallel import text_lines, write_lines
from fairseq_lrn.errors import InputError
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.models.translation.rnmt_model import RNMTModel
from fairseq_lrn.models.translation.zero_weights import (
    SPECIAL_WORDS,
    config_from_zero,
    from_zero,
)

HELP = "convert a checkpoint of the authors' toolkit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--variables", required=True, metavar="FILE", help=".npz file")
    parser.add_argument(
        "--parameters", required=True, metavar="FILE", help="the toolkit's parameters, JSON"
    )
    parser.add_argument(
        "--source-vocab", required=True, metavar="FILE", help="source vocabulary, one word per line"
    )
    parser.add_argument(
        "--target-vocab", required=True, metavar="FILE", help="target vocabulary, one word per line"
    )
    parser.add_argument("-s", "--source-lang", required=True, metavar="SRC", help="source language")
    parser.add_argument("-t", "--target-lang", required=True, metavar="TRG", help="target language")
    parser.add_argument("--destdir", required=True, metavar="DIR", help="directory to write to")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    parameters = read_parameters(args.parameters)
    model, _, _ = from_zero(
        read_variables(args.variables),
        parameters,
        read_vocabulary(args.source_vocab),
        read_vocabulary(args.target_vocab),
    )
    config = config_from_zero(parameters)
    path = save_for_fairseq(model, config, args.source_lang, args.target_lang, args.destdir)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"wrote {path}: a model with the cell {config.cell} and {size} parameters")


def read_parameters(path: str) -> Dict[str, Any]:
    """The toolkit's parameters from a JSON file.

    Raises:
        InputError: the file cannot be read, or is not an object of names and values.
    """
    try:
        with open(path, encoding="utf-8") as file:
            parameters = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the parameters {path}: {error}; give a JSON file") from error
    if not isinstance(parameters, dict):
        raise InputError(f"{path} has no parameters: give a JSON object of names and values")
    return parameters


def read_variables(path: str) -> Dict[str, np.ndarray]:
    """The variables of a model, by their TensorFlow paths, from an .npz file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy and zipfile raise many types of errors
        raise InputError(f"cannot read the variables {path} as an .npz file: {error}") from error


def read_vocabulary(path: str) -> List[str]:
    """The words of a vocabulary file of the toolkit, without special words.

    Repeated words are ignored, as in the toolkit.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    words = [line.strip() for line in text_lines(path)]
    return [word for word in dict.fromkeys(words) if word not in SPECIAL_WORDS]


def save_for_fairseq(
    model: RNMTModel, config: RNMTConfig, source_lang: str, target_lang: str, destdir: str
) -> str:
    """Write ``model.pt`` and the dictionaries ``dict.LANG.txt`` of both languages.

    Args:
        model: the model, a result of :func:`from_zero`.
        config: the options of the model, the result of :func:`config_from_zero`.
        source_lang: source language.
        target_lang: target language.
        destdir: directory, created if it is missing.

    Returns:
        the path of the checkpoint.

    Raises:
        InputError: a file is there already or cannot be written, or both languages have the same
            name.
    """
    if source_lang == target_lang:
        raise InputError(
            f"both languages are {source_lang}, but their dictionaries need two names: give "
            "different names"
        )
    sides = (model.encoder, source_lang), (model.decoder, target_lang)
    dictionaries = [os.path.join(destdir, f"dict.{lang}.txt") for _, lang in sides]
    path = os.path.join(destdir, "model.pt")
    for file in (*dictionaries, path):
        if os.path.lexists(file):  # other data may belong to the dictionaries
            raise InputError(f"{file} exists already: remove it or choose another --destdir")
    try:
        os.makedirs(destdir, exist_ok=True)
        for (side, _), file in zip(sides, dictionaries):
            _save_dictionary(side.dictionary, file)
    except OSError as error:
        raise InputError(f"cannot write to {destdir}: {error.strerror or error}") from error
    task = TranslationConfig(data=destdir, source_lang=source_lang, target_lang=target_lang)
    options = OmegaConf.structured(FairseqConfig())
    OmegaConf.set_struct(options, False)
    options.model = {**_plain(config), "_name": "lrn_rnmt"}
    options.task = {**_plain(task), "_name": "translation"}
    options.criterion = {"_name": "cross_entropy", "sentence_avg": False}
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(options, resolve=False, enum_to_str=True),
        "model": model.state_dict(),
        "optimizer_history": [
            {
                "criterion_name": "CrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {},
                "num_updates": 0,
            }
        ],
        "extra_state": {"epoch": 0},
    }
    checkpoints.save(state, path)
    return path


def _save_dictionary(dictionary: Dictionary, path: str) -> None:
    """Write a dictionary in fairseq's format.

    Unlike fairseq's own method, mark the words that are spelled like special symbols: otherwise
    fairseq refuses to read the file.
    """
    special = dictionary.symbols[: dictionary.nspecial]
    lines = (
        f"{word} {count}" + (" #fairseq:overwrite" if word in special else "")
        for word, count in zip(
            dictionary.symbols[dictionary.nspecial :], dictionary.count[dictionary.nspecial :]
        )
    )
    write_lines(path, lines)


def _plain(config: Any) -> Dict[str, Any]:
    """The fields of a dataclass, with the members of enumerations as strings."""
    return {
        name: str(value) if hasattr(value, "name") else value
        for name, value in asdict(config).items()
    }
