#!/usr/bin/env python3
"""Time the models trained by scripts/compare_cells.sh, and write a table and a plot to DIR.

All cells take turns in one process, because only ratios are meaningful on a shared machine.
"""

import argparse
import os

import cell_comparison
from benchmarks.machine import describe_machine, format_machine
from fairseq_lrn.commands.entry import run
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules import CELLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", metavar="DIR", help="the --dir of scripts/compare_cells.sh")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the models")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each cell (default: 3)")
    args = parser.parse_args()
    if args.rounds < 1:
        raise InputError(f"--rounds must be at least 1, not {args.rounds}")
    machine = format_machine(describe_machine())
    print(machine)
    results = cell_comparison.measure(args.directory, args.cells, args.seed, args.rounds)
    table = cell_comparison.format_table(results)
    print(table)
    name = os.path.join(args.directory, f"cells-{args.seed}")
    with open(f"{name}.md", "w", encoding="utf-8") as file:
        file.write(f"{machine}\n\n{table}\n")
    if cell_comparison.BASELINE in args.cells:
        cell_comparison.plot(results, f"{name}.png")


if __name__ == "__main__":
    run(main)
