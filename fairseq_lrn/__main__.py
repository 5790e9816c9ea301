"""The command ``fairseq-lrn``, without being installed: ``python -m fairseq_lrn``."""

from fairseq_lrn.cli import main

main()
