#!/usr/bin/env python3
"""Measure the recurrence (scan) or a layer (layer) against their peers, taking turns.

Prints a table; times are medians. Needs what bash scripts/setup.sh benchmark installs.
"""

import argparse
import json

import torch

from fairseq_lrn import benchmark, command

MEASURES = {"scan": benchmark.scan, "layer": benchmark.layer}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def shape(text: str) -> list:
    """T,B,H"""
    sizes = [int(size) for size in text.split(",")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(text)
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--shape", type=shape, action="append", metavar="T,B,H", dest="shapes")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--activation", choices=("tanh", "identity"), default="tanh")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--plot", metavar="FILE", help="also draw them, e.g. scan.png")
    args = parser.parse_args()
    if args.rounds < 1:
        raise command.InputError(f"--rounds must be at least 1, not {args.rounds}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise command.InputError(f"--device {args.device}: torch finds no GPU")
    if args.plot:
        try:
            import matplotlib  # noqa: F401  (before minutes are spent)
        except ImportError:
            raise command.InputError("--plot needs matplotlib: pip install matplotlib") from None

    machine = benchmark.describe_machine(args.device)
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    torch.manual_seed(1)
    comparisons = MEASURES[args.measure](
        args.shapes, args.rounds, args.device, DTYPES[args.dtype], args.activation
    )
    print(benchmark.format_table(comparisons))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            figures = [comparison._asdict() for comparison in comparisons]
            json.dump({"machine": machine, "comparisons": figures}, file, indent=1)
    if args.plot:
        benchmark.plot(comparisons, args.plot)


if __name__ == "__main__":
    command.run(main)
