"""Serve a web page to try a model.

The page shows translations, the hypotheses of the beam, attention, and how much the recurrence
keeps of each subword. Needs Flask and waitress (the extra "demo").
"""

import argparse
import contextlib

from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model

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

    translator = load_model(args)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve(translator, args.host, args.port)
