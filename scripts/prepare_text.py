#!/usr/bin/env python3
"""Runs ``fairseq-lrn prepare`` from a checkout, also where the package is not installed."""

from fairseq_lrn.commands import prepare
from fairseq_lrn.commands.entry import run_script

if __name__ == "__main__":
    run_script(prepare)
