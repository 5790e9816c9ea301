"""Translate raw text, one sentence per line.

Reads standard input unless files are given. Writes one line per sentence; with --nbest, --scores or
--alignment, one line per translation, with columns separated by tabs: line number from 0, score,
translation, alignment.
"""

import argparse
import contextlib
import io
import sys
from typing import IO, Iterator, List, Optional

from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model
from fairseq_lrn.data.parallel import not_utf8
from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write
from fairseq_lrn.generation.translator import Translation

HELP = "translate raw text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", help="raw text in UTF-8")
    parser.add_argument("--output", metavar="FILE", help="file to write (default: standard output)")
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
        "--scores", action="store_true", help="print the log-probability (base 2) per token"
    )
    parser.add_argument(
        "--alignment",
        action="store_true",
        help="print pairs of aligned words, SOURCE-TARGET, counted from 0",
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="sentences per batch (default: 64)"
    )
    parser.add_argument(
        "--buffer-size",
        type=int,
        metavar="N",
        help="number of lines to read before translating them (default: 10000, on a terminal 1)",
    )


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    translator = load_model(args)
    is_interactive = not args.files and sys.stdin.isatty()
    buffer_size = args.buffer_size
    if buffer_size is None:
        buffer_size = 1 if is_interactive else 10_000
    options = {
        "attention": args.alignment,
        "batch_size": args.batch_size,
        "beam": args.beam,
        "buffer_size": buffer_size,
        "lenpen": args.lenpen,
        "nbest": args.nbest,
    }
    with output_file(args.output) as file:
        hypotheses = translator.translate_lines(read_lines(args.files), **options)
        for number, translations in enumerate(hypotheses):
            write_translations(number, translations, args, file)
            if is_interactive:
                file.flush()


def read_lines(files: List[str]) -> Iterator[str]:
    """The lines of the files, or of standard input. Only a line feed ends a line.

    Args:
        files: names of files; ``-`` or an empty list is standard input.

    Raises:
        InputError: a file cannot be read or is not UTF-8.
    """
    for name in files or ["-"]:
        is_stdin = name == "-"
        label = "standard input" if is_stdin else name
        number = 0
        try:
            with open(sys.stdin.fileno() if is_stdin else name, "rb", closefd=not is_stdin) as file:
                for number, line in enumerate(file):
                    yield line.decode("utf-8" if number else "utf-8-sig").rstrip("\n")
        except UnicodeDecodeError as error:
            raise not_utf8(label, number + 1) from error
        except OSError as error:
            raise InputError(f"cannot read {label}: {error.strerror or error}") from error


def write_translations(
    number: int, translations: List[Translation], args: argparse.Namespace, file: IO[str]
) -> None:
    """Write the translations of a sentence, one on each line.

    Args:
        number: number of the sentence, from 0.
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


@contextlib.contextmanager
def output_file(path: Optional[str]) -> Iterator[IO[str]]:
    """Standard output, or the file *path*, which gets its name when it is complete."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    with atomic_write(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8")
        yield file
        file.flush()
        file.detach()
