"""Continue text with a language model.

With --prompt, writes a continuation of --length tokens as they are made; </s> becomes a line break.
Otherwise each line of the files or of standard input is the beginning of a line, and its end is
written: one line for each line, of at most --length tokens. The output begins with a space where a
new word follows the prompt, so that both can be joined. Line n of a run with --seed S has the seed
S + n - 1.
"""

import argparse
from typing import IO, Any, Dict

from fairseq_lrn.commands.model_arguments import add_data_and_device
from fairseq_lrn.commands.streams import output_file, read_lines, text_of
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.language_model import LanguageModel, load_language_model

HELP = "continue text with a language model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="directory of checkpoints, or a checkpoint")
    parser.add_argument(
        "files", nargs="*", default=[], metavar="FILE", help="beginnings of lines, in UTF-8"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="text to continue; it may be empty")
    parser.add_argument(
        "--length", type=int, default=100, metavar="N", help="number of tokens (default: 100)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="X",
        help="divides the logits; 0: always the most probable token (default: 1)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="N",
        help="sample from the N most probable tokens (default: all)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="sample from the fewest most probable tokens that together have probability P "
        "(default: 1)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="random seed (default: none)")
    add_data_and_device(parser)


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: an option has an invalid value, or the model or the input cannot be used.
    """
    if args.prompt is not None and args.files:
        raise InputError("--prompt has no effect with files of beginnings: give one of them")
    model = load_language_model(args.model, data=args.data, device=args.device)
    with output_file(None) as file:
        if args.prompt is not None:
            write_continuation(model, args, file)
            return
        lines = (text_of(line) for line in read_lines(args.files) if line is not None)
        for number, line in enumerate(lines):
            print(end_of_line(model, line, args, number), file=file, flush=True)


def write_continuation(model: LanguageModel, args: argparse.Namespace, file: IO[str]) -> None:
    """Write the text after the prompt, as it grows."""
    is_first = not model.text.ends_in_a_word(args.prompt)
    for token in model.generate_tokens(args.prompt, seed=args.seed, **sampling(args)):
        ends = token == model.dictionary.eos()
        piece = "\n" if ends else model.text.piece(model.dictionary[token], is_first)
        print(piece, end="", file=file, flush=True)
        is_first = ends
    print(file=file)


def end_of_line(model: LanguageModel, line: str, args: argparse.Namespace, number: int) -> str:
    """The text after the beginning of a line, up to the end of the line.

    Args:
        model: the model.
        line: the beginning.
        args: arguments of the command.
        number: index of the line, from 0.
    """
    tokens = []
    seed = None if args.seed is None else args.seed + number
    for token in model.generate_tokens(line, seed=seed, **sampling(args)):
        if token == model.dictionary.eos():
            break
        tokens.append(token)
    return model.text_of(tokens, line)


def sampling(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of the model's ``generate`` that every line shares."""
    return {name: getattr(args, name) for name in ("length", "temperature", "top_k", "top_p")}
