"""``--bpe prepared_text``: raw text in fairseq's own commands."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.data.encoders import register_bpe
from fairseq.dataclass import FairseqDataclass

from fairseq_lrn.compat.checkpoint_saving import register_companion
from fairseq_lrn.data.raw_text import RawText
from fairseq_lrn.data.text_files import keep_beside_checkpoint
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE
from fairseq_lrn.errors import InputError

register_companion(keep_beside_checkpoint)


@dataclass
class PreparedTextConfig(FairseqDataclass):
    """Options of ``--bpe prepared_text``."""

    prepared_text: Optional[str] = field(
        default=None,
        metadata={"help": "directory that fairseq-lrn prepare made, or directory of checkpoints"},
    )
    prepared_text_source_lang: Optional[str] = field(
        default=None,
        metadata={"help": "language to translate from (default: the source language of the data)"},
    )


@register_bpe("prepared_text", dataclass=PreparedTextConfig)
class PreparedText:
    """:class:`RawText` for fairseq's commands: ``fairseq-interactive --bpe prepared_text``.

    It also tokenises, so ``--tokenizer`` must not be given.

    Args:
        cfg: the options.

    Raises:
        InputError: no directory is given, or its files are missing or damaged.
    """

    def __init__(self, cfg: PreparedTextConfig):
        if not cfg.prepared_text:
            raise InputError(
                "--bpe prepared_text needs --prepared-text DIR: give the directory that "
                "fairseq-lrn prepare made, or a directory of checkpoints"
            )
        self.raw = RawText(cfg.prepared_text, cfg.prepared_text_source_lang)

    def encode(self, line: str) -> str:
        """Subwords of a line of raw source text, separated by spaces."""
        return " ".join(self.raw.subwords(line))

    def decode(self, subwords: str) -> str:
        """Raw target text from subwords that are separated by spaces.

        With ``--remove-bpe sentencepiece``, fairseq has joined them already: to words.
        """
        words = subwords.split()
        if len(words) > 1 and SENTENCEPIECE_SPACE not in subwords:
            return self.raw.detokenize(" ".join(words))
        return self.raw.text(subwords)
