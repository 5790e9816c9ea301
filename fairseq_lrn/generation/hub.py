"""Raw text in fairseq's hub interface, ``from_pretrained``."""

import os
import sys
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from fairseq.dataclass.configs import GenerationConfig
from fairseq.hub_utils import GeneratorHubInterface
from omegaconf import open_dict
from torch import Tensor

from fairseq_lrn import checkpoints
from fairseq_lrn.data import text_files
from fairseq_lrn.data.raw_text import RawText, check_line
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import items, lines_of
from fairseq_lrn.generation.options import generation_settings
from fairseq_lrn.models.base import (
    RecurrentEncoder,
    register_hub_completion,
    register_hub_interface,
)


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
        if not os.path.isdir(directory):
            raise InputError(f"{directory} is not a directory: give the directory of checkpoints")
        checkpoint_file = os.path.basename(checkpoints.chosen([directory])[0])
    if {"tokenizer", "bpe"} & options.keys() or not text_files.PARALLEL.files(directory):
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


BATCH_SIZE = 64  # lines, if the training run limited its batches by tokens only

# Arguments of fairseq's method ``generate`` that are not generation options.
GENERATE = {
    "inference_step_args",
    "prefix_allowed_tokens_fn",
    "print_alignment",
    "skip_invalid_size_inputs",
}


@register_hub_interface
class TextHubInterface(GeneratorHubInterface):
    """fairseq's hub interface, for texts of several lines, and for lines of any length."""

    def __init__(self, cfg: Any, task: Any, models: Sequence[Any]):
        super().__init__(cfg, task, models)
        if all(isinstance(model.encoder, RecurrentEncoder) for model in models):
            self.max_positions = (sys.maxsize, sys.maxsize)
            # The limits of the training run are for its batches.
            with open_dict(self.cfg.dataset):
                self.cfg.dataset.max_tokens = self.cfg.dataset.max_tokens_valid = None
                self.cfg.dataset.batch_size = self.cfg.dataset.batch_size or BATCH_SIZE
            for model in models:
                model.decoder.max_target_positions = sys.maxsize

    def sample(
        self,
        sentences: Union[str, Iterable[str]],
        beam: int = 1,
        verbose: bool = False,
        **kwargs: Any,
    ) -> Union[str, List[str]]:
        """The best translation of a text, or of each of several texts.

        The lines of a text are translated one by one, and its translation has the same lines. The
        translation of a line without words is empty.

        Args:
            sentences: one text or several texts.
            beam: number of hypotheses in the search.
            verbose: log the hypotheses.
            kwargs: further arguments of ``generate``. Without ``max_len_b``, a translation has at
                most 200 tokens, or twice as many as the longest line.

        Raises:
            InputError: a text is not a string, or has code points that are not characters; or an
                option has an invalid value or no effect.
        """
        if isinstance(sentences, str):
            return self.sample([sentences], beam, verbose, **kwargs)[0]
        options = {name: value for name, value in kwargs.items() if name not in GENERATE}
        if "nbest" in options:
            raise InputError("nbest has no effect here: call load_translator(...).hypotheses(...)")
        if "lm_path" in options and self.cfg.task._name != "translation_lrn":
            raise InputError(
                f"lm_path has no effect with --task {self.cfg.task._name}: call load_translator"
            )
        generation_settings({"beam": beam, **options})
        texts = [
            self._encode_lines(f"sentence {number}", text)
            for number, text in enumerate(items(sentences), 1)
        ]
        lines = [tokens for text in texts for tokens in text if _has_words(tokens)]
        if self.cfg.generation.max_len_b == GenerationConfig.max_len_b:
            longest = max(map(len, lines), default=0)
            kwargs.setdefault("max_len_b", max(GenerationConfig.max_len_b, 2 * longest))
        found = iter(self.generate(lines, beam, verbose, **kwargs) if lines else ())
        return [
            "\n".join(
                self.decode(next(found)[0]["tokens"]) if _has_words(tokens) else ""
                for tokens in text
            )
            for text in texts
        ]

    def _encode_lines(self, name: str, text: str) -> List[Tensor]:
        """The tokens of each line of a text, which is called *name* in error messages."""
        lines = lines_of(text)
        for line in lines:
            check_line(line, name)
        return list(map(self.encode, lines))


def _has_words(tokens: Tensor) -> bool:
    return len(tokens) > 1  # EOS is the last
