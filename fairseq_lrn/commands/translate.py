"""Translate raw text, one sentence per line.

Reads standard input unless files are given. Writes one line per sentence; with --nbest, --scores or
--alignment, one line per translation, with columns separated by tabs: line number from 0, score
(with --scores), translation, alignment (with --alignment). With --json, writes one JSON object per
sentence.

Translations are written as they are made. A file of --output gets its name when it is complete; if
the command is interrupted, a message says where the translations so far are.
"""

import argparse
import json
from typing import IO, Any, Dict, List

from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model
from fairseq_lrn.commands.streams import (
    add_stream_arguments,
    blocks,
    check_stream_arguments,
    output_file,
    read_lines,
    text_of,
    with_progress,
)
from fairseq_lrn.generation.translator import Translation

HELP = "translate raw text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model_arguments(parser)
    add_stream_arguments(parser, batch_size=64)
    parser.add_argument(
        "--beam", type=int, default=5, metavar="N", help="hypotheses in the beam (default: 5)"
    )
    parser.add_argument(
        "--lenpen",
        type=float,
        default=1.0,
        metavar="X",
        help="length penalty; above 1, translations get longer (default: 1)",
    )
    parser.add_argument(
        "--nbest", type=int, default=1, metavar="N", help="translations per sentence (default: 1)"
    )
    parser.add_argument(
        "--scores",
        action="store_true",
        help="print the log-probability (base 2) per token, end of sentence included",
    )
    parser.add_argument(
        "--alignment",
        action="store_true",
        help="print pairs of aligned words, SOURCE-TARGET, counted from 0",
    )
    parser.add_argument(
        "--max-source-length",
        type=int,
        metavar="N",
        help="longest sentence to translate, in subwords; the translation of a longer one is empty "
        "(default: 10000, or what the model was built for if its encoder is not recurrent)",
    )
    parser.add_argument(
        "--truncate", action="store_true", help="translate the beginning of a longer sentence"
    )
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object per sentence (JSON lines)"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: an option has an invalid value, the input cannot be read, or the output cannot
            be written.
    """
    check_stream_arguments(args)
    translator = load_model(args)
    options = {
        "attention": args.alignment,
        "batch_size": args.batch_size,
        "beam": args.beam,
        "lenpen": args.lenpen,
        "max_source_length": args.max_source_length,
        "nbest": args.nbest,
        "truncate": args.truncate,
    }
    write = write_json if args.json else write_translations
    with output_file(args.output) as file:
        for first, block in with_progress(
            blocks(read_lines(args.files), args.buffer_size, text_of), args
        ):
            found = translator.hypotheses(block, first_number=first, progress=False, **options)
            for number, (line, translations) in enumerate(zip(block, found), first - 1):
                write(number, line, translations, args, file)
            file.flush()


def write_translations(
    number: int,
    line: str,
    translations: List[Translation],
    args: argparse.Namespace,
    file: IO[str],
) -> None:
    """Write the translations of a sentence, one on each line.

    Args:
        number: number of the sentence, from 0.
        line: the sentence.
        translations: its translations.
        args: arguments of the command, which choose the columns.
        file: file to write to.
    """
    for translation in translations:
        fields = [translation.text]
        if args.alignment:
            fields.append(" ".join(f"{s}-{t}" for s, t in translation.alignment))
        if args.scores:
            fields.insert(0, f"{translation.score:.4f}")
        if args.nbest > 1 or args.scores or args.alignment:
            fields.insert(0, str(number))
        print("\t".join(fields), file=file)


def write_json(
    number: int,
    line: str,
    translations: List[Translation],
    args: argparse.Namespace,
    file: IO[str],
) -> None:
    """Write a sentence and its translations as JSON on one line; arguments as above."""
    record = {
        "number": number,
        "source": line,
        "source_words": translations[0].source_words,
        "translations": [as_json(translation, args.alignment) for translation in translations],
    }
    print(json.dumps(record, ensure_ascii=False), file=file)


def as_json(translation: Translation, alignment: bool) -> Dict[str, Any]:
    """A translation as JSON, with or without the alignment."""
    fields = {
        "text": translation.text,
        "score": translation.score,
        "words": translation.words,
        "positional_scores": translation.positional_scores,
    }
    return {**fields, "alignment": translation.alignment} if alignment else fields
