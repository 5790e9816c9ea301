"""Serve a web page to try a model.

The page of a translation model shows translations, the hypotheses of the beam, attention, and how
much the recurrence keeps of each subword. The page of a classifier shows labels and the weight of
each word, the page of a tagger shows entities, and the page of a reader shows answers. Needs Flask
and waitress (the extra "demo").
"""

import argparse
import contextlib
from typing import Any, Callable, Dict, Optional

from fairseq_lrn import checkpoints
from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import load_classifier
from fairseq_lrn.generation.reader import load_reader
from fairseq_lrn.generation.tagger import load_tagger

# How to load the models of other tasks than translation.
LABELLING: Dict[str, Callable[..., Any]] = {
    "text_classification": load_classifier,
    "sequence_tagging": load_tagger,
    "span_prediction": load_reader,
}

HELP = "serve a web page to try a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port; 0: any free one (default: %(default)s)"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command until it is interrupted."""
    from fairseq_lrn.demo import server  # other commands do not need Flask

    service = load_service(args)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve(service, args.host, args.port)


def load_service(args: argparse.Namespace) -> Any:
    """Load the model, and choose the page for it.

    Raises:
        InputError: the model cannot be used.
    """
    from fairseq_lrn.demo.labelling import LabellingService
    from fairseq_lrn.demo.translation import TranslationService

    name = trained_task(args.model)
    if name not in LABELLING:
        return TranslationService(load_model(args))
    if args.generation_dtype is not None:
        raise InputError("--generation-dtype is for translation: leave it out")
    return LabellingService(LABELLING[name](args.model, data=args.data, device=args.device))


def trained_task(path: str) -> Optional[str]:
    """The name of the task that a model was trained for.

    Raises:
        InputError: there is no checkpoint.
    """
    return checkpoints.task_name(checkpoints.load(checkpoints.chosen(path)[0]))
