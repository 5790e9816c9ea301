"""Using a trained tagger with raw text: :func:`load_tagger`."""

from typing import Any, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union, overload

import torch

from fairseq_lrn.data.entities import spans, to_iob2
from fairseq_lrn.data.raw_text import check_text
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import items
from fairseq_lrn.generation.labelled_model import Predictor, load_parts
from fairseq_lrn.generation.loading import PathLike

Placed = Tuple[str, int, int]  # a word, the position of its first character, and that after it


class Entity(NamedTuple):
    """A named entity.

    Attributes:
        type: its type, e.g. ``"LOC"``.
        text: its text.
        start: position of its first character in the raw text.
        end: the position after its last character.
    """

    type: str
    text: str
    start: int
    end: int


class Tagging(NamedTuple):
    """The words of a text, the tag of each word in the scheme IOB2, and the entities."""

    words: List[str]
    tags: List[str]
    entities: List[Entity]


class Tagger(Predictor):
    """A trained tagger. See :func:`load_tagger`."""

    @overload
    def __call__(self, texts: str, **options: Any) -> Tagging: ...

    @overload
    def __call__(self, texts: Iterable[str], **options: Any) -> List[Tagging]: ...

    def __call__(
        self,
        texts: Union[str, Iterable[str]],
        tokenizer: Optional[str] = None,
        batch_size: int = 32,
        progress: Optional[bool] = None,
        first_number: int = 1,
    ) -> Union[Tagging, List[Tagging]]:
        """Find the entities of a text, or of each of several texts.

        Args:
            texts: raw text of one sentence, or several of them.
            tokenizer: ``"moses"`` parts punctuation from words, and ``"space"`` takes words as they
                are between spaces. By default ``"moses"``, or ``"space"`` if Moses has no rules for
                the language of the data.
            batch_size: number of texts that are read together; fewer if they are long.
            progress: show a progress bar; None: on a terminal, from 100 texts on.
            first_number: number of the first text, for error messages.

        Returns:
            words, tags and entities; of several texts, a list in their order.

        Raises:
            InputError: a text is not a string, has line breaks, or has code points that are not
                characters; *tokenizer* is unknown; or *batch_size* is not a whole number above 0.
        """
        if isinstance(texts, str):
            return self([texts], tokenizer, batch_size, progress, first_number)[0]
        if tokenizer is None:
            tokenizer = "space" if self.text.language is None else "moses"
        if tokenizer not in ("space", "moses"):
            raise InputError(f"tokenizer must be space or moses, not {tokenizer!r}")
        raw = list(items(texts))
        placed = [
            self.text.words_with_offsets(text, f"text {number}", tokenizer)
            for number, text in enumerate(raw, first_number)
        ]
        return self._tag(raw, placed, batch_size, progress)

    def tag_words(
        self,
        sentences: Iterable[Sequence[str]],
        batch_size: int = 32,
        progress: Optional[bool] = None,
    ) -> List[Tagging]:
        """Find the entities of sentences that are split into words already.

        Args:
            sentences: the words of each sentence.
            batch_size, progress: see :meth:`__call__`.

        Returns:
            words, tags and entities of each sentence. The places of entities are those in the text
            that has single spaces between the words.

        Raises:
            InputError: a sentence is no list of words, a word is empty or has white space, or
                *batch_size* is not a whole number above 0.
        """
        placed = [
            placed_words(words, f"sentence {number}")
            for number, words in enumerate(items(sentences), 1)
        ]
        texts = [" ".join(word for word, _, _ in words) for words in placed]
        return self._tag(texts, placed, batch_size, progress)

    def _tag(
        self,
        texts: Sequence[str],
        placed: Sequence[Sequence[Placed]],
        batch_size: int,
        progress: Optional[bool],
    ) -> List[Tagging]:
        """Find the entities of texts, given their words with their places."""
        words = [[word for word, _, _ in text] for text in placed]
        tags: List[List[str]] = [[] for _ in words]
        for indices, arguments in self.batches_of([words], batch_size, progress):
            for index, best in zip(indices, self._best(arguments)):
                tags[index] = to_iob2([self.labels[tag] for tag in best[: len(words[index])]])
        return [
            Tagging(names, of_words, entities_of(text, places, of_words))
            for text, places, names, of_words in zip(texts, placed, words, tags)
        ]

    @torch.no_grad()
    def _best(self, arguments: Any) -> List[List[int]]:
        scores, extra = self.model(**arguments)
        return self.model.decode(scores, extra["padding_mask"]).tolist()


def placed_words(words: Sequence[str], name: str) -> List[Placed]:
    """The places of words in the text that has single spaces between them.

    Args:
        words: the words.
        name: what to call them in error messages.

    Raises:
        InputError: *words* is no list, or a word is no string, is empty, or has white space or
            code points that are not characters.
    """
    if isinstance(words, (str, bytes)) or not isinstance(words, Iterable):
        raise InputError(f"{name} must be a list of words: call the tagger itself with raw text")
    placed, start = [], 0
    for number, word in enumerate(words, 1):
        check_text(word, f"{name}, word {number},")
        if word.split() != [word]:
            raise InputError(f"{name} has the word {word!r}, which is empty or has white space")
        placed.append((word, start, start + len(word)))
        start += len(word) + 1
    return placed


def entities_of(text: str, words: Sequence[Placed], tags: Sequence[str]) -> List[Entity]:
    """The entities of a text, from its words with their places and tags in the scheme IOB2."""
    found = []
    for kind, first, after in spans(tags):
        start, end = words[first][1], words[after - 1][2]
        found.append(Entity(kind, text[start:end], start, end))
    return found


def load_tagger(
    path: PathLike,
    checkpoint: Optional[PathLike] = None,
    data: Optional[PathLike] = None,
    device: Optional[str] = None,
) -> Tagger:
    """Load a trained tagger, with all that raw text needs.

    Args:
        path, checkpoint, data, device: see
            :func:`~fairseq_lrn.generation.classifier.load_classifier`.

    Raises:
        InputError: the checkpoint cannot be used, it is not of a tagger, the files that raw text
            needs are missing, or *device* cannot be used.

    Example:
        >>> tagger = load_tagger("conll2003/lrn-1/checkpoints")  # doctest: +SKIP
        >>> tagger("Ada Lovelace lived in London.").entities  # doctest: +SKIP
        [Entity(type='PER', text='Ada Lovelace', start=0, end=12), ...]
    """
    return Tagger(*load_parts(path, checkpoint, data, device, "sequence_tagging", "a tagger"))
