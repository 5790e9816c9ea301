"""For a process that was forked where everything is imported already."""

import importlib
import os
import sys

import torch


def run(log, name, arguments):
    """The command fairseq-NAME on one thread, with all that it prints in a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    sys.argv = [f"fairseq-{name}", *arguments]
    importlib.import_module(f"fairseq_cli.{name}").cli_main()
