"""Raw text in fairseq's hub interface, ``from_pretrained``."""

import os
from typing import Any, Dict, Optional, Tuple

from fairseq_lrn import checkpoints
from fairseq_lrn.data import text_files
from fairseq_lrn.data.raw_text import RawText
from fairseq_lrn.models.base import register_hub_completion


@register_hub_completion
def complete_from_directory(
    directory: str, checkpoint_file: Optional[str], options: Dict[str, Any]
) -> Tuple[str, Dict[str, Any]]:
    """Choose a checkpoint, and set the options for raw text if the directory has its files.

    Args:
        directory: a directory of checkpoints.
        checkpoint_file: names of checkpoints, joined by ``:``, or None.
        options: options of fairseq, which take precedence.

    Returns:
        names of checkpoints, and the options.

    Raises:
        InputError: there is no checkpoint, or the files that raw text needs are damaged.
    """
    if checkpoint_file is None:
        checkpoint_file = checkpoints.preferred(directory)
    if {"tokenizer", "bpe"} & options.keys() or not text_files.files(directory):
        return checkpoint_file, options
    first = checkpoint_file.split(os.pathsep)[0]
    state = checkpoints.load(os.path.join(directory, first))
    text = RawText(directory, checkpoints.source_lang(state))
    options = {"source_lang": text.source_lang, "target_lang": text.target_lang, **options}
    options.update(
        bpe="prepared_text",
        prepared_text=directory,
        prepared_text_source_lang=options["source_lang"],
    )
    return checkpoint_file, options
