#!/usr/bin/env python3
"""Print the detokenised translations from the output of fairseq-generate, in the order of the data.

--tokenized prints them without detokenisation. --triples N prints source, reference and translation
of the first N sentences instead.
"""

import argparse
import sys

from fairseq_lrn.commands.entry import run
from fairseq_lrn.data.generate_output import read_translations
from fairseq_lrn.data.tokenization import Detokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", metavar="FILE", help="output of fairseq-generate")
    parser.add_argument("--lang", required=True, help="target language, for detokenisation")
    parser.add_argument("--source-lang", default="en", help="source language, for --triples")
    parser.add_argument("--tokenized", action="store_true", help="do not detokenise")
    parser.add_argument("--triples", type=int, metavar="N")
    args = parser.parse_args()

    translations = read_translations(args.output)
    source_text, target_text = Detokenizer(args.source_lang), Detokenizer(args.lang)
    if args.triples is None:
        for translation in translations:
            print(translation.hypothesis if args.tokenized else target_text(translation.hypothesis))
        return
    for translation in translations[: args.triples]:
        print("source:     ", source_text(translation.source))
        print("reference:  ", target_text(translation.reference))
        print("translation:", target_text(translation.hypothesis))
        sys.stdout.write("\n")


if __name__ == "__main__":
    run(main)
