"""The command ``fairseq-lrn``, without being installed: ``python -m fairseq_lrn``."""

from fairseq_lrn.commands.main import main

main()
