"""``python -m fairseq_lrn``: the command ``fairseq-lrn``, which also works without installation."""

from fairseq_lrn.commands.main import main

main()
