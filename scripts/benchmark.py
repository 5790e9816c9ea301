#!/usr/bin/env python3
"""Measure speed and memory against peers in interleaved runs; print a Markdown table of medians.

scan: the recurrence; layer: a recurrent layer; products: matrix products in two libraries;
cells: training and decoding of lrn_rnmt with each cell; lm: language models;
classify: classifiers, taggers and readers with each cell;
train: fairseq-train; generate: fairseq-generate; step: the parts of a decoding step;
scaling: training and generating as sentences grow;
newton: rounds of Newton's method in the backend "parallel" (no time).

train and classify need prepared data; generate and step also need trained models.
The packages of the peers come with: bash scripts/setup.sh benchmark
"""

import argparse
import importlib.util
import json
import os

import torch

from benchmarks import (
    cell_speed,
    decoding_step,
    generation_speed,
    labelled_recipes,
    labelled_speed,
    lm_speed,
    newton_rounds,
    operator_speed,
    products,
    scaling,
    training_speed,
)
from benchmarks.machine import describe_machine, format_machine
from fairseq_lrn.commands.entry import run
from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write
from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.ops.cpu import has_bfloat16

OPERATORS = {"scan": operator_speed.scan, "layer": operator_speed.layer}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CHARTS = (".pdf", ".png", ".svg")
USER_DIR = os.path.join(os.path.dirname(__file__), os.pardir, "fairseq_lrn")


def shape(text: str) -> list:
    """Parse T,B,H."""
    sizes = text.split(",")
    if len(sizes) != 3:
        raise argparse.ArgumentTypeError(f"give three sizes as T,B,H, not {text}")
    return [positive(size) for size in sizes]


def named_checkpoint(text: str) -> tuple:
    """Parse NAME=CHECKPOINT."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"give NAME=CHECKPOINT, not {text}")
    return name, path


def device(text: str) -> newton_rounds.Device:
    """Parse bandwidth, time of a step, and time of a launch."""
    try:
        bandwidth, step, launch = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"give three numbers, not {text}") from None
    return newton_rounds.Device(1e9 * bandwidth, 1e-9 * step, 1e-6 * launch)


def positive(text: str) -> int:
    """Parse a number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a number above 0, not {text}")
    return int(text)


def common_options(rounds: int) -> argparse.ArgumentParser:
    """The options of most measures, as a parent; *rounds*: their default."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--rounds",
        type=positive,
        default=rounds,
        metavar="N",
        help=f"how often each candidate is timed, interleaved with the others (default: {rounds})",
    )
    common.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return common


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures = parser.add_subparsers(dest="measure", required=True)
    for name in OPERATORS:
        measure = measures.add_parser(name, parents=[common_options(7)])
        measure.add_argument(
            "--shape",
            type=shape,
            action="append",
            metavar="T,B,H",
            dest="shapes",
            help="time steps, batch size and hidden size; repeat the option for several shapes",
        )
        measure.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
        measure.add_argument(
            "--dtype",
            choices=DTYPES,
            default="float32",
            help="type of input (default: float32)",
        )
        measure.add_argument(
            "--activation",
            choices=("tanh", "identity"),
            default="tanh",
            help="activation g of the cell (default: tanh)",
        )
        measure.add_argument("--plot", metavar="FILE", help="also draw a chart, e.g. scan.png")
    measures.add_parser("products", parents=[common_options(7)])
    measure = measures.add_parser("cells", parents=[common_options(3)])
    measure.add_argument(
        "--cells",
        nargs="+",
        choices=CELLS,
        default=CELLS,
        metavar="CELL",
        help=f"cells to compare with gru (default: {' '.join(CELLS)})",
    )
    measure.add_argument(
        "--sizes",
        nargs="+",
        choices=cell_speed.SIZES,
        default=list(cell_speed.SIZES),
        metavar="SIZE",
        help="paper: width 1024, 32,000 words; narrow: width 128; multi30k: compare_cells.sh",
    )
    measure = measures.add_parser("lm", parents=[common_options(5)])
    measure.add_argument(
        "--models",
        nargs="+",
        choices=lm_speed.MODELS,
        metavar="NAME",
        help="only these models, some of " + ", ".join(f'"{name}"' for name in lm_speed.MODELS),
    )
    measure.add_argument(
        "--positions",
        type=positive,
        nargs="*",
        default=lm_speed.POSITIONS,
        metavar="N",
        help="lengths of text behind which generated tokens are timed; none: do not time them",
    )
    measure.add_argument("--plot", metavar="FILE", help="also draw a chart, e.g. tokens.png")
    measure = measures.add_parser("classify", parents=[common_options(5)])
    measure.add_argument("data", help="data that the script of the recipe prepared, e.g. imdb/data")
    measure.add_argument(
        "--recipe",
        choices=labelled_recipes.RECIPES,
        required=True,
        help="the script's name without .sh",
    )
    measure.add_argument(
        "--cells",
        nargs="+",
        choices=CELLS,
        default=CELLS,
        metavar="CELL",
        help=f"cells to compare; ratios are to the first (default: {' '.join(CELLS)})",
    )
    measure.add_argument(
        "--lengths",
        type=positive,
        nargs="*",
        default=[],
        metavar="N",
        help="instead, time single texts of N words with the first cell (--recipe imdb or squad)",
    )
    data_help = "directory of prepared data (fairseq-lrn prepare or fairseq-preprocess)"
    measure = measures.add_parser("train", parents=[common_options(3)])
    measure.add_argument("data", help=data_help)
    measure.add_argument(
        "--setting",
        choices=training_speed.SETTINGS,
        default="512",
        help="512: equal sizes, 512 wide, 2 + 2 layers (default); multi30k: the size of the "
        "Multi30k recipe against the tiny transformer",
    )
    measure.add_argument(
        "--updates", type=int, default=20, help="counted updates in each turn (default: 20)"
    )
    measure.add_argument(
        "--skip",
        type=int,
        default=training_speed.INTERVAL,
        metavar="N",
        help=f"updates before the counted ones (default: {training_speed.INTERVAL})",
    )
    measure.add_argument(
        "--subset",
        default="train",
        help="subset to train on (default: train); with valid and --skip 30, the run has seen "
        "every batch before, as in all epochs of a training run except the first",
    )
    measure.add_argument("--models", nargs="+", metavar="NAME", help="only these rows")
    measure.add_argument("--max-tokens", type=int, default=4096, help="batch size, in tokens")
    for name in ("generate", "step"):
        measure = measures.add_parser(name, parents=[common_options(3)])
        measure.add_argument("data", help=data_help)
        measure.add_argument(
            "--model",
            type=named_checkpoint,
            action="append",
            required=True,
            metavar="NAME=CHECKPOINT",
            dest="models",
            help="a trained model; repeat the option for models to compare with the first",
        )
        measure.add_argument(
            "--batch-sizes",
            type=positive,
            nargs="+",
            default=[1, 16, 128],
            metavar="N",
            help="sentences in a batch (default: 1 16 128)",
        )
        measure.add_argument("--subset", default="test", help="of the data (default: test)")
        if name == "generate":
            measure.add_argument("--rows", nargs="+", metavar="NAME", help="only these rows")
            measure.add_argument(
                "--threads",
                type=positive,
                nargs="+",
                default=[],
                metavar="N",
                help="run each row with each of these numbers of threads; the fastest counts",
            )
    measure = measures.add_parser("newton")
    measure.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    measure.add_argument(
        "--model",
        type=named_checkpoint,
        metavar="NAME=CHECKPOINT",
        help="a trained model of translation or language modelling; without it, random inputs",
    )
    measure.add_argument("--data", help="with --model: " + data_help)
    measure.add_argument(
        "--lengths",
        type=positive,
        nargs="+",
        default=newton_rounds.LENGTHS,
        metavar="N",
        help=f"time steps (default: {' '.join(map(str, newton_rounds.LENGTHS))})",
    )
    measure.add_argument(
        "--cost",
        type=device,
        metavar="GB/S,NS,US",
        help="instead, estimate times on a GPU of that memory bandwidth, with so many nanoseconds "
        "for a step and microseconds for starting a kernel, e.g. 4800,100,5; for the largest of "
        "--lengths",
    )
    measure = measures.add_parser("scaling")
    measure.add_argument(
        "--json", metavar="FILE", help="also write each figure to FILE as soon as it is measured"
    )
    measure.add_argument(
        "--resume", action="store_true", help="measure only the figures missing in --json FILE"
    )
    measure.add_argument("--plot", metavar="FILE", help="also draw a chart, e.g. scaling.png")
    measure.add_argument(
        "--models",
        nargs="+",
        choices=scaling.MODELS,
        default=[*scaling.MODELS],
        help="models to measure (default: all)",
    )
    measure.add_argument(
        "--kinds",
        nargs="+",
        choices=scaling.KINDS,
        default=[*scaling.KINDS],
        help="what to measure (default: all)",
    )
    measure.add_argument(
        "--lengths",
        type=positive,
        nargs="+",
        default=scaling.LENGTHS,
        metavar="N",
        help=f"tokens of a sentence (default: {' '.join(map(str, scaling.LENGTHS))})",
    )
    measure.add_argument("--tokens", type=positive, default=2048, help="per batch (default: 2048)")
    return parser.parse_args()


def check_plot(path: str) -> None:
    """Refuse a chart that could not be written, before measuring.

    Raises:
        InputError: matplotlib is missing, or the file cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install matplotlib")
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
        raise InputError(f"cannot write {path}: give a file in a directory that exists")
    if os.path.splitext(path)[1] not in CHARTS:
        raise InputError(f"--plot {path}: give a name that ends in {' or '.join(CHARTS)}")


def write_figures(path: str, machine: dict, figures: list) -> None:
    """Write the figures and the description of the machine as JSON."""
    rows = [figure._asdict() for figure in figures]
    with atomic_write(path) as file:
        file.write(json.dumps({"machine": machine, "comparisons": rows}, indent=1).encode())


def read_costs(path: str, machine: dict) -> list:
    """The figures that an interrupted ``scaling`` run wrote on this machine.

    Raises:
        InputError: the file has no such figures, or is of another machine.
    """
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
        costs = [scaling.Cost(**cost) for cost in saved["comparisons"]]
        saved_machine = saved["machine"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} has no figures of scaling: give another file, or remove this one"
        ) from error
    if saved_machine != machine:
        raise InputError(
            f"{path} was measured on another machine ({format_machine(saved_machine)}): give "
            "another file, or remove this one"
        )
    return costs


def measure_operators(args: argparse.Namespace) -> tuple:
    torch.manual_seed(1)
    comparisons = OPERATORS[args.measure](
        args.shapes, args.rounds, args.device, DTYPES[args.dtype], args.activation
    )
    return operator_speed.format_table(comparisons), comparisons


def measure_products(args: argparse.Namespace) -> tuple:
    torch.manual_seed(1)
    found = products.measure(args.rounds)
    return products.format_table(found), found


def measure_cells(args: argparse.Namespace) -> tuple:
    torch.manual_seed(1)
    sizes = [cell_speed.SIZES[name] for name in args.sizes]
    times = cell_speed.measure(args.rounds, sizes, args.cells)
    return cell_speed.format_table(times), times


def measure_language_models(args: argparse.Namespace) -> tuple:
    timed = set(args.models or lm_speed.MODELS) & set(lm_speed.GENERATING)
    if args.plot and not (args.positions and timed):
        raise InputError(
            f"--plot draws the times at --positions of {' and '.join(lm_speed.GENERATING)}: give "
            "some, or leave it out"
        )
    speeds = lm_speed.measure(args.rounds, args.models, bfloat16=has_bfloat16())
    times = []
    if args.positions:
        times = lm_speed.measure_generation(sorted(args.positions), args.models)
    return lm_speed.format_table(speeds, times), [*speeds, *times]


def measure_labelled(args: argparse.Namespace) -> tuple:
    if args.lengths:
        if args.recipe not in ("imdb", "squad"):
            raise InputError(f"--lengths needs --recipe imdb or squad, not {args.recipe}")
        costs = labelled_speed.measure_lengths(
            args.recipe, args.data, args.cells[0], args.lengths, args.rounds
        )
        return labelled_speed.format_lengths(costs), costs
    speeds = labelled_speed.measure(args.recipe, args.data, args.cells, args.rounds)
    return labelled_speed.format_table(speeds), speeds


def measure_training(args: argparse.Namespace) -> tuple:
    for option, updates in (("--updates", args.updates), ("--skip", args.skip)):
        if updates < 1 or updates % training_speed.INTERVAL != 0:
            raise InputError(
                f"{option} must be a multiple of {training_speed.INTERVAL}, not {updates}"
            )
    chosen = training_speed.candidates(args.setting, args.models)
    speeds = training_speed.measure(
        args.data,
        USER_DIR,
        chosen,
        args.rounds,
        args.updates,
        args.max_tokens,
        args.subset,
        args.skip,
    )
    return training_speed.format_table(speeds), speeds


def measure_generation(args: argparse.Namespace) -> tuple:
    chosen = generation_speed.candidates(args.models, args.rows)
    speeds = generation_speed.measure(
        args.data,
        USER_DIR,
        chosen,
        args.batch_sizes,
        args.rounds,
        args.subset,
        args.threads,
    )
    return generation_speed.format_table(speeds), speeds


def measure_steps(args: argparse.Namespace) -> tuple:
    profiles = decoding_step.measure(
        args.data, args.models, args.batch_sizes, args.rounds, args.subset
    )
    return decoding_step.format_table(profiles), profiles


def measure_newton(args: argparse.Namespace) -> tuple:
    if (args.model is None) != (args.data is None):
        raise InputError("--model and --data belong together: give both or none")
    if args.cost:
        if args.model or args.json:
            raise InputError("--cost measures nothing: leave out --model, --data and --json")
        lanes = [4**power for power in range(9)]
        return newton_rounds.cost_table(args.cost, max(args.lengths), lanes), []
    torch.manual_seed(1)
    if args.model is None:
        found = newton_rounds.measure_random(args.lengths)
    else:
        found = newton_rounds.measure_model(*args.model, args.data, args.lengths)
    return newton_rounds.format_table(found), found


def measure_scaling(args: argparse.Namespace, machine: dict) -> None:
    """Print and write each figure as soon as it is measured, because a whole run takes long."""
    if args.resume and not args.json:
        raise InputError("--resume needs --json FILE")
    if args.json and os.path.exists(args.json) and not args.resume:
        raise InputError(f"{args.json} exists: give --resume to go on with it, or another file")
    known = read_costs(args.json, machine) if args.resume else []
    costs = []
    print(scaling.HEAD, flush=True)
    for cost in scaling.measure(args.models, args.kinds, args.lengths, args.tokens, known):
        costs.append(cost)
        print(scaling.format_row(cost), flush=True)
        if args.json:
            done = {cost[:4] for cost in costs}
            remaining = [cost for cost in known if cost[:4] not in done]
            write_figures(args.json, machine, costs + remaining)
    if args.plot:
        scaling.plot(costs, args.plot)


MEASURES = {
    **dict.fromkeys(OPERATORS, measure_operators),
    "cells": measure_cells,
    "classify": measure_labelled,
    "lm": measure_language_models,
    "products": measure_products,
    "train": measure_training,
    "generate": measure_generation,
    "step": measure_steps,
    "newton": measure_newton,
}


def main() -> None:
    args = parse()
    device = getattr(args, "device", "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: torch finds no GPU")
    if args.json and not os.access(os.path.dirname(os.path.abspath(args.json)), os.W_OK):
        raise InputError(f"cannot write {args.json}: give a file in a directory that exists")
    if getattr(args, "plot", None):
        check_plot(args.plot)
    machine = describe_machine(device)
    print(format_machine(machine), flush=True)
    if args.measure == "scaling":
        measure_scaling(args, machine)
        return
    table, figures = MEASURES[args.measure](args)
    print(table)
    if args.json:
        write_figures(args.json, machine, figures)
    if getattr(args, "plot", None):
        draw = lm_speed.plot if args.measure == "lm" else operator_speed.plot
        draw(figures, args.plot)


if __name__ == "__main__":
    run(main)
