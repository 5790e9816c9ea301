#!/usr/bin/env python3
"""Turn a model that the LRN authors' toolkit (bzhangGo/zero) trained into a fairseq checkpoint.

The variables come from an .npz file, by their TensorFlow paths. With TensorFlow at hand:

    reader = tf.train.load_checkpoint(checkpoint)
    names = reader.get_variable_to_shape_map()
    numpy.savez("model.npz", **{name: reader.get_tensor(name) for name in names})

The parameters are the toolkit's param.json; for a model of the code that was released with the
paper (bzhangGo/lrn) add "variant": "paper" to it.

Writes model.pt and both dictionaries to DIR. Generate with the text segmented as the toolkit's
was, and fairseq-preprocess --srcdict DIR/dict.SRC.txt --tgtdict DIR/dict.TRG.txt:

    fairseq-generate data-bin/mine --user-dir fairseq_lrn --path DIR/model.pt --remove-bpe \\
        --task translation_lrn --length-penalty gnmt --beam 4 --lenpen 0.6 \\
        --required-batch-size-multiple 1
"""

import argparse
import json

import numpy as np

from fairseq_lrn import convert
from fairseq_lrn.errors import InputError, run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variables", required=True, metavar="FILE", help=".npz file")
    parser.add_argument(
        "--parameters", required=True, metavar="FILE", help="the toolkit's parameters, JSON"
    )
    parser.add_argument("--source-vocab", required=True, metavar="FILE", help="one word a line")
    parser.add_argument("--target-vocab", required=True, metavar="FILE", help="one word a line")
    parser.add_argument("-s", "--source-lang", required=True, metavar="SRC")
    parser.add_argument("-t", "--target-lang", required=True, metavar="TRG")
    parser.add_argument("--destdir", required=True, metavar="DIR")
    args = parser.parse_args()
    parameters = read_parameters(args.parameters)
    model, _, _ = convert.from_zero(
        read_variables(args.variables),
        parameters,
        convert.read_vocabulary(args.source_vocab),
        convert.read_vocabulary(args.target_vocab),
    )
    config = convert.config_from_zero(parameters)
    path = convert.save_for_fairseq(model, config, args.source_lang, args.target_lang, args.destdir)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{path}: {config.cell} model with {size} parameters")


def read_parameters(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            parameters = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the parameters {path}: {error}") from error
    if not isinstance(parameters, dict):
        raise InputError(f"{path} has no parameters: expected an object of names and values")
    return parameters


def read_variables(path: str) -> dict:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy and zipfile raise many kinds
        raise InputError(f"cannot read the variables {path} as an .npz file: {error}") from error


if __name__ == "__main__":
    run(main)
