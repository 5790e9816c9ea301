"""Answer questions about texts: find the words of a text that are the answer.

Reads standard input unless files are given. A line has a question and a text, separated by a tab.
Writes one line for each, with columns separated by tabs: the answer, its probability, and its place
in the text (the position of its first character, and the position after its last one). With --json,
writes one JSON object for each.

With --squad, reads standard input or one file in the format of SQuAD 1.1, and writes the answers in
the format of its official script, a JSON object with an answer for each id. If the input has the
right answers, exact match and F1 are printed to standard error.
"""

import argparse
import json
import sys
from typing import Any, Dict, Tuple

from fairseq_lrn.commands.classify import add_labelling_arguments
from fairseq_lrn.commands.streams import (
    Line,
    blocks,
    check_stream_arguments,
    output_file,
    read_lines,
    read_stdin,
    two_texts,
    with_progress,
)
from fairseq_lrn.data.answers import score
from fairseq_lrn.data.span_files import read_spans
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.reader import FoundAnswer, Reader, load_reader

HELP = "answer questions about texts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_labelling_arguments(parser)
    parser.add_argument(
        "--max-answer-distance",
        type=int,
        metavar="N",
        help="the last word of an answer is at most N words after its first (default: as in "
        "training)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one JSON object per question")
    form.add_argument(
        "--squad", action="store_true", help="read and write the JSON formats of SQuAD 1.1"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: an option has an invalid value, the model or the input cannot be used, or the
            output cannot be written.
    """
    if args.squad and len(args.files) > 1:
        raise InputError(f"--squad reads one FILE in the format of SQuAD, not {len(args.files)}")
    if args.squad and args.buffer_size is not None:
        raise InputError("--buffer-size has no effect with --squad: leave it out")
    check_stream_arguments(args)
    reader = load_reader(args.model, data=args.data, device=args.device)
    if args.squad:
        answer_squad(reader, args)
    else:
        answer_lines(reader, args)


def answer_lines(reader: Reader, args: argparse.Namespace) -> None:
    """Answer the questions on the lines of the input."""
    with output_file(args.output) as file:
        for first, pairs in with_progress(
            blocks(read_lines(args.files), args.buffer_size, question_of), args
        ):
            questions, contexts = (list(side) for side in zip(*pairs))
            found = reader(
                questions, contexts, first_number=first, progress=False, **options_of(args)
            )
            for question, context, answer in zip(questions, contexts, found):
                text = as_json(question, context, answer) if args.json else columns(answer)
                print(text, file=file)
            file.flush()


def question_of(line: Line) -> Tuple[str, str]:
    """The question and the text on a line.

    Raises:
        InputError: the line does not have one tab, or a side is empty.
    """
    question, context = two_texts(line, "a question and a text", "the answer is a part of the text")
    for name, text in (("question", question), ("text", context)):
        if not text.strip():
            raise InputError(f"{line.place} has an empty {name}: write it, or remove the line")
    return question, context


def answer_squad(reader: Reader, args: argparse.Namespace) -> None:
    """Answer the questions of a file in the format of SQuAD, and print the scores."""
    (path,) = args.files or ["-"]
    if path == "-":
        spans = read_spans("standard input", needs_answers=False, content=read_stdin())
    else:
        spans = read_spans(path, needs_answers=False)
    contexts = [spans.contexts[owner] for owner in spans.owners]
    with output_file(args.output) as file:  # it fails before the work is done
        found = reader(spans.questions, contexts, **options_of(args))
        predictions = {name: answer.text for name, answer in zip(spans.ids, found)}
        print(json.dumps(predictions, ensure_ascii=False), file=file)
    if all(spans.answers):
        scores = score(predictions, spans)
        print(
            f"em {scores.exact_match:.2f} f1 {scores.f1:.2f} ({scores.questions} questions)",
            file=sys.stderr,
        )


def options_of(args: argparse.Namespace) -> Dict[str, Any]:
    """The options of :class:`Reader` that the command has."""
    return {"batch_size": args.batch_size, "max_answer_distance": args.max_answer_distance}


def columns(answer: FoundAnswer) -> str:
    """An answer in columns. Tabs and line breaks in it are spaces."""
    text = " ".join(answer.text.split())
    return f"{text}\t{answer.probability:.4f}\t{answer.start}\t{answer.end}"


def as_json(question: str, context: str, answer: FoundAnswer) -> str:
    """A question, its text and its answer as JSON on one line."""
    record = {"question": question, "context": context, **answer._asdict()}
    return json.dumps(record, ensure_ascii=False)
