#!/usr/bin/env python3
"""``fairseq-lrn convert``, which is run from a checkout without being installed."""

from fairseq_lrn.commands import convert
from fairseq_lrn.commands.entry import run_script

if __name__ == "__main__":
    run_script(convert)
