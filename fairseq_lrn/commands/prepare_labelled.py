"""Prepare labelled text for classifiers, taggers and readers.

A file has one example on each line, its label and its text (--kind text) or two texts (--kind pair)
with tabs between them. With --kind tags it has one word on each line, with its tag in the last
column, and a blank line after each sentence. With --kind spans it has questions about texts in the
JSON format of SQuAD 1.1.

Words are what is between spaces, words and punctuation marks apart, Moses's tokens, or subwords of
a BPE (sentencepiece) that is learned on the training texts. The words of the training texts are in
the dictionary, and those of all texts that have a vector in --vectors; DIR/vectors.txt has their
vectors.

Example:
    fairseq-lrn prepare-labelled --kind text --trainpref train.tsv --validpref valid.tsv \\
        --tokenizer moses --lowercase --vectors glove.6B.100d.txt --destdir data-bin/mine
    fairseq-lrn prepare-labelled --kind spans --trainpref train.json --validpref valid.json \\
        --lowercase --vectors glove.6B.100d.txt --destdir data-bin/questions
"""

import argparse

from fairseq_lrn.commands.prepare_arguments import add_workers, options_of
from fairseq_lrn.data.bpe import DEFAULT_VOCAB_SIZE
from fairseq_lrn.data.entities import SCHEMES
from fairseq_lrn.data.labelled_files import KINDS
from fairseq_lrn.data.labelled_options import DEFAULT_LANGUAGE, LabelledOptions
from fairseq_lrn.data.labelled_text import TOKENIZERS
from fairseq_lrn.data.prepare_labelled import prepare_labelled

HELP = "prepare labelled text for classifiers, taggers and readers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    defaults = LabelledOptions("", "", "")
    parser.add_argument(
        "--kind",
        choices=KINDS,
        required=True,
        help="what has a label: a text, a pair of texts, or each word (tags); or questions whose "
        "answers are parts of a text (spans)",
    )
    parser.add_argument("--trainpref", required=True, metavar="FILE", help="training data")
    parser.add_argument("--validpref", metavar="FILE", help="validation data (default: none)")
    parser.add_argument("--testpref", metavar="FILE", help="test data (default: none)")
    parser.add_argument(
        "--destdir", required=True, metavar="DIR", help="directory to make; must not exist"
    )
    parser.add_argument(
        "--tag-scheme",
        choices=SCHEMES,
        help="scheme of the tags of --kind tags (default: IOB2; IOB1 is that of CoNLL-2003)",
    )
    parser.add_argument(
        "--tokenizer",
        choices=TOKENIZERS,
        help="how text is split into words (default: space; with --kind spans: punctuation, the "
        "only choice)",
    )
    parser.add_argument(
        "--language",
        metavar="LANG",
        help="language of Moses's rules; with --kind tags, those for raw text later "
        f"(default: {DEFAULT_LANGUAGE})",
    )
    parser.add_argument(
        "--vocab-size",
        type=int,
        metavar="N",
        help=f"number of subwords of the BPE (default: {DEFAULT_VOCAB_SIZE})",
    )
    parser.add_argument(
        "--lowercase", action="store_true", help="lower-case words, but not their characters"
    )
    parser.add_argument(
        "--threshold",
        type=int,
        default=defaults.threshold,
        metavar="N",
        help="words that occur at least N times in the training texts are in the dictionary "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--vectors",
        metavar="FILE",
        help="word vectors, in text format; words of all texts that have one are in the dictionary",
    )
    parser.add_argument(
        "--all-vectors",
        action="store_true",
        help="all words of --vectors are in the dictionary, so that raw text finds them",
    )
    parser.add_argument(
        "--no-characters",
        dest="characters",
        action="store_false",
        help="do not write the characters of words",
    )
    add_workers(parser)


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    prepare_labelled(LabelledOptions(**options_of(args, LabelledOptions)))
