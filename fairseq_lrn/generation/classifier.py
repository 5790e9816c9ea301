"""Using a trained classifier with raw text: :func:`load_classifier`."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union, overload

import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import items
from fairseq_lrn.generation.labelled_model import Predictor, load_parts
from fairseq_lrn.generation.loading import PathLike

HEAD = "sentence_classification_head"
UNKNOWN = ""  # a text without words is read as a word that is unknown and has no characters

Pair = Tuple[str, str]


class Classification(NamedTuple):
    """The label of a text or of a pair of texts.

    Attributes:
        label: the most probable label.
        probabilities: the probability of each label, the most probable one first.
        words: the words of the text; of a pair, the words of both texts in two lists.
        attention: the weight of each word in pooling by attention or mean, with the shape of
            *words*; None if the model pools the maximum.
    """

    label: str
    probabilities: Dict[str, float]
    words: List[Any]
    attention: Optional[List[Any]]

    @property
    def probability(self) -> float:
        """The probability of the label."""
        return self.probabilities[self.label]


class Classifier(Predictor):
    """A trained classifier of texts or of pairs of texts. See :func:`load_classifier`."""

    @overload
    def __call__(self, texts: Union[str, Pair], **options: Any) -> Classification: ...

    @overload
    def __call__(self, texts: Iterable[Union[str, Pair]], **options: Any) -> List[Any]: ...

    def __call__(
        self,
        texts: Union[str, Pair, Iterable[Union[str, Pair]]],
        batch_size: int = 32,
        progress: Optional[bool] = None,
        first_number: int = 1,
    ) -> Union[Classification, List[Classification]]:
        """Classify a text (or a pair of texts), or each of several.

        Line breaks in a text are spaces. A text without words is read as one unknown word.

        Args:
            texts: raw text; for a model of pairs a tuple of two texts; or several of them.
            batch_size: number of texts that are read together; fewer if they are long.
            progress: show a progress bar; None: on a terminal, from 100 texts on.
            first_number: number of the first text, for error messages.

        Returns:
            the classification; of several texts, a list in their order.

        Raises:
            InputError: a text is not a string (or not two strings), or has code points that are not
                characters; or *batch_size* is not a whole number above 0.
        """
        is_pair = self.text.kind == "pair"
        if is_pair and isinstance(texts, str):
            raise InputError("give a tuple of two strings, because the model reads pairs")
        if isinstance(texts, tuple if is_pair else str):
            return self([texts], batch_size, progress, first_number)[0]
        samples = [
            self._words(sample, is_pair, f"text {number}")
            for number, sample in enumerate(items(texts), first_number)
        ]
        found: List[Optional[Classification]] = [None] * len(samples)
        columns = [
            [sample[index] or [UNKNOWN] for sample in samples] for index in range(1 + is_pair)
        ]
        for indices, arguments in self.batches_of(columns, batch_size, progress):
            for index, result in zip(indices, self._classify(arguments, samples, indices)):
                found[index] = result
        return [result for result in found if result is not None]

    def _words(self, sample: Any, is_pair: bool, name: str) -> List[List[str]]:
        """The words of each text of a sample."""
        if not is_pair:
            return [self._words_of(sample, name)]
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            raise InputError(
                f"{name} must be a tuple of two strings, because the model reads pairs"
            )
        return [self._words_of(text, name) for text in sample]

    def _words_of(self, text: Any, name: str) -> List[str]:
        """The words of a text, which may have line breaks."""
        return self.text.words(text.replace("\n", " ") if isinstance(text, str) else text, name)

    @torch.no_grad()
    def _classify(
        self,
        arguments: Dict[str, torch.Tensor],
        samples: Sequence[List[List[str]]],
        indices: Sequence[int],
    ) -> List[Classification]:
        logits, extra = self.model(**arguments, classification_head_name=HEAD)
        rows = torch.softmax(logits.float(), 1).tolist()
        attention = [extra[name] for name in ("attention", "other_attention") if name in extra]
        tokens = [arguments[name] for name in ("src_tokens", "other_tokens") if name in arguments]
        results = []
        for row, index in enumerate(indices):
            ranked = sorted(zip(rows[row], self.labels), key=lambda pair: -pair[0])
            words = samples[index]
            weights = None
            if attention and all(found is not None for found in attention):
                weights = [
                    found[row][text[row] != self.task.dictionary.pad()].tolist()[: len(part)]
                    for found, text, part in zip(attention, tokens, words)
                ]
            is_pair = len(words) > 1
            results.append(
                Classification(
                    label=ranked[0][1],
                    probabilities={label: p for p, label in ranked},
                    words=words if is_pair else words[0],
                    attention=weights if is_pair or weights is None else weights[0],
                )
            )
        return results


def load_classifier(
    path: PathLike,
    checkpoint: Optional[PathLike] = None,
    data: Optional[PathLike] = None,
    device: Optional[str] = None,
) -> Classifier:
    """Load a trained classifier of texts or of pairs of texts, with all that raw text needs.

    Args:
        path: directory of checkpoints, or a checkpoint.
        checkpoint: name of a checkpoint in the directory; by default the first of ``averaged.pt``,
            ``checkpoint_best.pt`` and ``checkpoint_last.pt`` that exists. The choice is logged.
        data: directory that ``fairseq-lrn prepare-labelled`` made. It is needed only if the
            checkpoint's directory lacks its files and the data were moved.
        device: e.g. ``"cuda"``; by default a GPU if there is one.

    Raises:
        InputError: the checkpoint cannot be used, it is not of a classifier, the files that raw
            text needs are missing, or *device* cannot be used.

    Example:
        >>> classifier = load_classifier("imdb/lrn-1/checkpoints")  # doctest: +SKIP
        >>> classifier("What a wonderful film!").label  # doctest: +SKIP
        'pos'
    """
    parts = load_parts(path, checkpoint, data, device, "text_classification", "a classifier")
    return Classifier(*parts)
