"""``python -m fairseq_lrn``: the command ``fairseq-lrn`` without installation."""

from fairseq_lrn.commands.main import main

main()
