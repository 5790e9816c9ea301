"""Serve a page on which to try a model.

The page shows translations, the hypotheses of the beam, attention, and what the recurrence keeps of
each subword. Needs the extra demo: pip install 'fairseq-lrn[demo]'.
"""

import argparse
import contextlib

from fairseq_lrn.commands.model_arguments import add_model_arguments, load_model

HELP = "serve a page on which to try a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="0: any free port (default: %(default)s)"
    )


def main(args: argparse.Namespace) -> None:
    """Run the command until it is interrupted."""
    from fairseq_lrn.demo import server  # no other command needs Flask

    translator = load_model(args)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve(translator, args.host, args.port)
