#!/usr/bin/env python3
"""Translate a whole subset under many conditions, and compare translations and log-probabilities.

The conditions differ in batch size, padding, order, ensemble, prefix, search and backend. Prints a
Markdown table. The exit status is 1 if a translation differs, or if a log-probability differs by
more than 1e-5. With TRITON_INTERPRET=1, the Triton kernel replaces the C++ kernel, without a GPU.

Example:
    python scripts/check_translations.py multi30k/data-bin \\
        --path multi30k/lrn-1/checkpoints/averaged.pt
"""

import argparse
import os
import sys

import fairseq_lrn  # noqa: F401  (registers the models)
from fairseq_lrn.commands.entry import run
from fairseq_lrn.errors import InputError
from fairseq_lrn.ops.dispatch import backends, choose
from translation_equivalence import SubsetTranslator, compare, conditions

TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="directory of prepared data")
    parser.add_argument("--path", required=True, metavar="FILE", help="checkpoint")
    parser.add_argument("--gen-subset", default="valid", metavar="SUBSET")
    parser.add_argument("--beam", type=int, default=5, metavar="N")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name has TEXT")
    args = parser.parse_args()
    translator = SubsetTranslator(args.path, args.data, args.gen_subset, args.beam)
    if os.environ.get("TRITON_INTERPRET") == "1":
        choose("cpu", "triton")  # must come before the C++ kernel is loaded in this process
    usable = [backend.name for backend in backends() if backend.state != "unavailable"]
    print(
        "| condition | sentences | differing from the first "
        "| largest difference in log-probability |"
    )
    print("| --- | ---: | ---: | ---: |")
    failed = False
    every = conditions(usable)
    named = [condition for condition in every if args.only in condition.name]
    if not named:
        raise InputError(f"--only {args.only}: no row has a name with this text")
    # The first condition of each prefix is what the others are compared with.
    references = {condition.prefix: condition for condition in reversed(every)}
    needed = [every[0], *named, *(references[condition.prefix] for condition in named)]
    chosen = [condition for condition in every if condition in needed]
    for row in compare(translator, chosen):
        print(
            f"| {row.name} | {row.sentences} | {row.different} | {row.log_probability:.1e} |",
            flush=True,
        )
        failed = failed or row.different > 0 or not row.log_probability <= TOLERANCE
    sys.exit(int(failed))


if __name__ == "__main__":
    run(main)
