"""The command ``fairseq-lrn``."""

import argparse
import contextlib
import io
import sys
from typing import IO, Iterator, List, Optional

from fairseq_lrn import __version__, checkpoints, command
from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks.translation import DTYPES
from fairseq_lrn.generation.translator import Translation, Translator, load_translator


def parser() -> argparse.ArgumentParser:
    """Its options."""
    main = argparse.ArgumentParser(prog="fairseq-lrn", description="Use trained models.")
    main.add_argument("--version", action="version", version=f"fairseq_lrn {__version__}")
    commands = main.add_subparsers(dest="command", required=True)
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument(
        "model", help="directory of checkpoints, or a checkpoint; an ensemble: FILE:FILE"
    )
    model.add_argument("--data", metavar="DIR", help="made by prepare_text.py, if it was moved")
    model.add_argument("--device", help="e.g. cuda (default: a GPU if there is one)")
    model.add_argument(
        "--generation-dtype",
        choices=DTYPES,
        help="of matrix products on a CPU (default: float32)",
    )
    translate = commands.add_parser(
        "translate",
        parents=[model],
        help="raw text, line by line",
        description="Translates raw text, a sentence in each line, as the model's own data were "
        "prepared. Reads standard input unless files are given. With --nbest, --scores or "
        "--alignment each translation has its line number and a tab before it.",
    )
    translate.add_argument("files", nargs="*", metavar="FILE", help="of text in UTF-8")
    translate.add_argument("--output", metavar="FILE", help="default: standard output")
    translate.add_argument("--beam", type=int, default=5, metavar="N", help="default: %(default)s")
    translate.add_argument("--lenpen", type=float, default=1.0, help="above 1: longer translations")
    translate.add_argument("--nbest", type=int, default=1, metavar="N", help="default: 1")
    translate.add_argument("--scores", action="store_true", help="log-probability for each token")
    translate.add_argument(
        "--alignment", action="store_true", help="words that correspond: SOURCE-TARGET, from 0"
    )
    translate.add_argument("--batch-size", type=int, default=64, metavar="N", help="default: 64")
    translate.add_argument(
        "--buffer-size",
        type=int,
        metavar="N",
        help="lines to read before translating them (default: 10000, on a terminal 1)",
    )
    serve = commands.add_parser(
        "serve",
        parents=[model],
        help="a web page to try the model on",
        description="Serves a page that shows translations, the hypotheses of the beam, attention, "
        "and what the recurrence keeps of each piece. Needs the extra demo.",
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: this machine alone)"
    )
    serve.add_argument("--port", type=int, default=8080, help="0: any (default: %(default)s)")
    return main


def read(files: List[str]) -> Iterator[str]:
    """Lines of the files, or of standard input; they end at line feeds only.

    Raises:
        InputError: a file cannot be read, or is not UTF-8.
    """
    for name in files or ["-"]:
        what = "standard input" if name == "-" else name
        number = 0
        try:
            with open(
                sys.stdin.fileno() if name == "-" else name, "rb", closefd=name != "-"
            ) as file:
                for number, line in enumerate(file, 1):
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{what} is not UTF-8 (line {number}): convert it, e.g. with iconv -t UTF-8"
            ) from error
        except OSError as error:
            raise InputError(f"cannot read {what}: {error.strerror or error}") from error


def write(number: int, found: List[Translation], args: argparse.Namespace, file: IO[str]) -> None:
    """One line for each translation of a sentence."""
    for translation in found:
        fields = [translation.text]
        if args.alignment:
            fields.append(" ".join(f"{s}-{t}" for s, t in translation.alignment))
        if args.scores:
            fields.insert(0, f"{translation.score:.4f}")
        if args.nbest > 1 or args.scores or args.alignment:
            fields.insert(0, str(number))
        print("\t".join(fields), file=file)


def load(args: argparse.Namespace) -> Translator:
    """The model that the options ask for."""
    return load_translator(
        args.model, data=args.data, device=args.device, dtype=args.generation_dtype
    )


def translate(args: argparse.Namespace) -> None:
    """``fairseq-lrn translate``."""
    translator = load(args)
    is_typed = not args.files and sys.stdin.isatty()
    options = {
        "attention": args.alignment,
        "batch_size": args.batch_size,
        "beam": args.beam,
        "buffer_size": args.buffer_size or (1 if is_typed else 10_000),
        "lenpen": args.lenpen,
        "nbest": args.nbest,
    }
    with output_file(args.output) as file:
        for number, found in enumerate(translator.translate_lines(read(args.files), **options)):
            write(number, found, args, file)
            if is_typed:
                file.flush()


def serve(args: argparse.Namespace) -> None:
    """``fairseq-lrn serve``."""
    from fairseq_lrn.demo import server  # Flask is not needed for anything else

    translator = load(args)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve(translator, args.host, args.port)


@contextlib.contextmanager
def output_file(path: Optional[str]) -> Iterator[IO[str]]:
    """Standard output, or a file that takes its name when it is complete."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    with checkpoints.replacing(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8")
        yield file
        file.flush()
        file.detach()


def main(arguments: Optional[List[str]] = None) -> None:
    """Run the command; wrong input ends it with a message and exit status 2."""
    args = parser().parse_args(arguments)
    command.run(lambda: {"serve": serve, "translate": translate}[args.command](args))
