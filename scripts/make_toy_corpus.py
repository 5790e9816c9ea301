#!/usr/bin/env python3
"""Write the English-German corpus of the quick start: {train,valid,test}.{en,de}."""

import argparse
import os

from toy_grammar import generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--destdir", required=True, metavar="DIR")
    parser.add_argument("--train", type=int, default=20000, metavar="N", help="training pairs")
    parser.add_argument("--valid", type=int, default=500, metavar="N", help="validation pairs")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test pairs")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    # All English sentences differ, so no test sentence is in the training set.
    pairs = generate(args.train + args.valid + args.test, args.seed)
    # Not by the package's write_lines: importing the package takes seconds.
    try:
        os.makedirs(args.destdir, exist_ok=True)
        for split in ("test", "valid", "train"):
            size = getattr(args, split)
            part, pairs = pairs[:size], pairs[size:]
            for side, lang in enumerate(("en", "de")):
                path = os.path.join(args.destdir, f"{split}.{lang}")
                with open(path, "w", encoding="utf-8", newline="\n") as file:
                    file.writelines(f"{pair[side]}\n" for pair in part)
    except OSError as error:
        parser.exit(2, f"error: cannot write to {args.destdir}: {error.strerror}\n")


if __name__ == "__main__":
    main()
