"""The subcommands of ``fairseq-lrn``, one file each."""
