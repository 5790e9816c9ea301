"""For a process that was forked where everything is imported already."""

import os
import sys

import torch


def train(log, arguments):
    """fairseq-train on one thread, with all that it prints in a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    sys.argv = ["fairseq-train", *arguments]
    from fairseq_cli.train import cli_main

    cli_main()
