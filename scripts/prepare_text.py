#!/usr/bin/env python3
"""``fairseq-lrn prepare``, which is run from a checkout without being installed."""

from fairseq_lrn.commands import prepare
from fairseq_lrn.commands.entry import run_script

if __name__ == "__main__":
    run_script(prepare)
