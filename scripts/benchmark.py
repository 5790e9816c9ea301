#!/usr/bin/env python3
"""Measure against peers, taking turns: the recurrence (scan), a layer of it (layer), and whole
trainings (train).

Prints a Markdown table; figures are medians. Needs what bash scripts/setup.sh benchmark installs.
"""

import argparse
import json
import os

import torch

from fairseq_lrn import command
from fairseq_lrn.benchmarks import operators, training
from fairseq_lrn.benchmarks.machine import describe_machine

OPERATORS = {"scan": operators.scan, "layer": operators.layer}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
USER_DIR = os.path.join(os.path.dirname(__file__), os.pardir, "fairseq_lrn")


def shape(text: str) -> list:
    """T,B,H"""
    sizes = [int(size) for size in text.split(",")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(text)
    return sizes


def parse() -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--rounds", type=int, help="turns of each (default: 7; train: 3)")
    common.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser = argparse.ArgumentParser(description=__doc__)
    measures = parser.add_subparsers(dest="measure", required=True)
    for name in OPERATORS:
        measure = measures.add_parser(name, parents=[common])
        measure.add_argument("--shape", type=shape, action="append", metavar="T,B,H", dest="shapes")
        measure.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
        measure.add_argument("--dtype", choices=DTYPES, default="float32")
        measure.add_argument("--activation", choices=("tanh", "identity"), default="tanh")
        measure.add_argument("--plot", metavar="FILE", help="also draw them, e.g. scan.png")
    measure = measures.add_parser("train", parents=[common])
    measure.add_argument("data", help="what prepare_text.py or fairseq-preprocess made")
    measure.add_argument(
        "--setting",
        choices=training.SETTINGS,
        default="512",
        help="512: equal sizes, 512 wide, 2 + 2 layers (default); multi30k: our recipe's size "
        "against the tiny transformer",
    )
    measure.add_argument(
        "--updates", type=int, default=20, help="counted in each turn (default: 20)"
    )
    measure.add_argument("--models", nargs="+", metavar="NAME", help="these rows only")
    measure.add_argument("--max-tokens", type=int, default=4096, help="size of a batch")
    return parser.parse_args()


def measure_operators(args: argparse.Namespace) -> tuple:
    if args.plot:
        try:
            import matplotlib  # noqa: F401  (before minutes are spent)
        except ImportError:
            raise command.InputError("--plot needs matplotlib: pip install matplotlib") from None
    torch.manual_seed(1)
    comparisons = OPERATORS[args.measure](
        args.shapes, args.rounds or 7, args.device, DTYPES[args.dtype], args.activation
    )
    if args.plot:
        operators.plot(comparisons, args.plot)
    return operators.format_table(comparisons), comparisons


def measure_training(args: argparse.Namespace) -> tuple:
    if args.updates < 1 or args.updates % training.INTERVAL != 0:
        raise command.InputError(
            f"--updates must be a multiple of {training.INTERVAL}, not {args.updates}"
        )
    chosen = training.candidates(args.setting, args.models)
    speeds = training.measure(
        args.data, USER_DIR, chosen, args.rounds or 3, args.updates, args.max_tokens
    )
    return training.format_table(speeds), speeds


def main() -> None:
    args = parse()
    if args.rounds is not None and args.rounds < 1:
        raise command.InputError(f"--rounds must be at least 1, not {args.rounds}")
    device = getattr(args, "device", "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise command.InputError(f"--device {device}: torch finds no GPU")
    machine = describe_machine(device)
    print(", ".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    table, figures = (measure_training if args.measure == "train" else measure_operators)(args)
    print(table)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            rows = [figure._asdict() for figure in figures]
            json.dump({"machine": machine, "comparisons": rows}, file, indent=1)


if __name__ == "__main__":
    command.run(main)
