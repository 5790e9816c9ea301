#!/usr/bin/env python3
"""``fairseq-lrn export``, which is run from a checkout without being installed."""

from fairseq_lrn.commands import export
from fairseq_lrn.commands.entry import run_script

if __name__ == "__main__":
    run_script(export)
