#!/usr/bin/env python3
"""Print the translations in the output of fairseq-generate as raw text, in the order of the data.

--data says how the text was tokenised. Without it, the translations are printed as they are.
--triples N prints source, reference and translation of the first N sentences instead.
"""

import argparse
import sys

from fairseq_lrn.commands.entry import run
from fairseq_lrn.data.generate_output import read_translations
from fairseq_lrn.data.raw_text import RawText


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", metavar="FILE", help="output of fairseq-generate")
    parser.add_argument("--data", metavar="DIR", help="data that fairseq-lrn prepare made")
    parser.add_argument("--triples", type=int, metavar="N")
    args = parser.parse_args()

    translations = read_translations(args.output)
    source_text = target_text = str
    if args.data is not None:
        text = RawText(args.data)
        source_text, target_text = RawText(args.data, text.target_lang).detokenize, text.detokenize
    if args.triples is None:
        for translation in translations:
            print(target_text(translation.hypothesis))
        return
    for translation in translations[: args.triples]:
        print("source:     ", source_text(translation.source))
        print("reference:  ", target_text(translation.reference))
        print("translation:", target_text(translation.hypothesis))
        sys.stdout.write("\n")


if __name__ == "__main__":
    run(main)
