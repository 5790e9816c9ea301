"""Texts with labels as fairseq's models read them: words, characters, and a label or tags."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import collate_tokens
from torch import Tensor

# Names of what models read, for the first and the second text of a sample.
INPUT_NAMES = (
    ("src_tokens", "src_lengths", "src_characters"),
    ("other_tokens", "other_lengths", "other_characters"),
)


class TextInput(NamedTuple):
    """One text of each sample.

    Attributes:
        words: for each sample its words, without ``</s>``, ``T``.
        characters: for each sample the characters of its words, each word with ``</s>`` at its end,
            in one sequence; None: the model reads none.
    """

    words: Sequence[Tensor]
    characters: Optional[Sequence[Tensor]] = None


class LabelledDataset(FairseqDataset):
    """Samples of one or two texts, with a label or with a tag for each word.

    Args:
        inputs: one or two texts of each sample.
        dictionary: dictionary of the words.
        characters: dictionary of the characters; None: the model reads none.
        labels: the label of each sample (a number, counted from 0), its tags, ``T``, or the words
            between which its answer is, ``2``; None: unknown.
        max_words: texts are cut to so many words; None: never.
        max_word_length: characters of a word that are read.
        shuffle: order samples of the same length at random.
        references: of each sample, what its criterion needs in validation; None: nothing.
        length_multiple: the padded length of the texts of a batch is a multiple of it.
    """

    def __init__(
        self,
        inputs: Sequence[TextInput],
        dictionary: Dictionary,
        characters: Optional[Dictionary] = None,
        labels: Optional[Sequence[Tensor]] = None,
        max_words: Optional[int] = None,
        max_word_length: int = 25,
        shuffle: bool = False,
        references: Optional[Sequence[Any]] = None,
        length_multiple: int = 1,
    ):
        self.length_multiple = length_multiple
        self.inputs, self.labels, self.references = inputs, labels, references
        self.dictionary, self.characters = dictionary, characters
        self.max_words, self.max_word_length = max_words, max_word_length
        self.shuffle = shuffle
        lengths = np.stack([lengths_of(text.words) for text in inputs])
        self.sizes = (lengths if max_words is None else np.minimum(lengths, max_words)).sum(0)

    def __len__(self) -> int:
        return len(self.inputs[0].words)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The sample *index*."""
        cut = slice(self.max_words)
        label = None if self.labels is None else self.labels[index]
        return {
            "id": index,
            "words": [text.words[index][cut] for text in self.inputs],
            "characters": [
                None if text.characters is None else text.characters[index] for text in self.inputs
            ],
            "label": label[cut] if isinstance(label, Tensor) and label.dim() else label,
        }

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """A batch of samples.

        Returns:
            ``id``, ``nsentences``, ``ntokens`` (words), ``net_input``; with labels ``target``, and
            with references ``references``, a list.
            ``net_input`` has words ``B x T``, numbers of words ``B``, and characters
            ``B x T x L``, under the names in :data:`INPUT_NAMES`. ``target`` has labels ``B``,
            tags ``B x T`` with 0 at padding, or answers ``B x 2``.
        """
        if not samples:
            return {}
        net_input = {}
        for number, _ in enumerate(self.inputs):
            tokens_name, lengths_name, characters_name = INPUT_NAMES[number]
            words = [sample["words"][number] for sample in samples]
            tokens = self._padded(words, self.dictionary.pad())
            net_input[tokens_name] = tokens
            net_input[lengths_name] = torch.tensor([len(text) for text in words])
            if self.characters is not None:
                net_input[characters_name] = collate_characters(
                    [sample["characters"][number] for sample in samples],
                    tokens.ne(self.dictionary.pad()),
                    self.characters,
                    self.max_word_length,
                )
        batch = {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": sum(len(text) for sample in samples for text in sample["words"]),
            "net_input": net_input,
        }
        labels = [sample["label"] for sample in samples]
        if self.labels is not None:
            if isinstance(labels[0], Tensor) and labels[0].dim():
                is_answer = len(self.inputs) == 2  # tags are of a single text
                batch["target"] = torch.stack(labels) if is_answer else self._padded(labels, 0)
            else:
                batch["target"] = torch.tensor([int(label) for label in labels])
        if self.references is not None:
            batch["references"] = [self.references[sample["id"]] for sample in samples]
        return batch

    def _padded(self, sequences: List[Tensor], value: int) -> Tensor:
        return collate_tokens(sequences, value, pad_to_multiple=self.length_multiple)

    def num_tokens(self, index: int) -> int:
        """Number of words of a sample, in all its texts."""
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """Numbers of words of several samples."""
        return self.sizes[indices]

    def size(self, index: int) -> int:
        """See :meth:`num_tokens`."""
        return self.num_tokens(index)

    def ordered_indices(self) -> np.ndarray:
        """Samples from the shortest to the longest, so that batches have little padding."""
        order = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return order[np.argsort(self.sizes[order], kind="stable")]


def collate_characters(
    sequences: Sequence[Tensor], is_word: Tensor, dictionary: Dictionary, max_length: int
) -> Tensor:
    """The characters of each word of a batch.

    Args:
        sequences: for each text the characters of its words, each word with ``</s>`` at its end.
            Words beyond the number in *is_word* are left out.
        is_word: ``B x T``, true at words and false at padding.
        dictionary: dictionary of the characters.
        max_length: characters of a word that are kept, from its beginning.

    Returns:
        ``B x T x L``, where L is the number of characters of the longest word, at least 1.
    """
    counts = is_word.sum(1).tolist()
    flat = torch.cat([_first_words(*pair, dictionary.eos()) for pair in zip(sequences, counts)])
    is_end = flat.eq(dictionary.eos())
    ends = is_end.nonzero()[:, 0]
    starts = torch.cat([ends.new_zeros(1), ends + 1])[:-1] if len(ends) else ends
    word = is_end.cumsum(0) - is_end.long()  # of each character
    position = torch.arange(len(flat)) - starts[word]
    kept_characters = ~is_end & (position < max_length)
    word, position = word[kept_characters], position[kept_characters]
    longest = int(position.max()) + 1 if len(position) else 1
    matrix = flat.new_full((len(ends), longest), dictionary.pad())  # W x L
    matrix[word, position] = flat[kept_characters]
    batch = matrix.new_full((*is_word.shape, longest), dictionary.pad())
    batch[is_word] = matrix
    return batch


def _first_words(sequence: Tensor, count: int, end: int) -> Tensor:
    """The characters of the first *count* words, each of which ends with the symbol *end*."""
    if count == 0:
        return sequence[:0]
    ends = sequence.eq(end).nonzero()[:, 0]
    return sequence[: int(ends[count - 1]) + 1]


def lengths_of(sequences: Sequence[Tensor]) -> np.ndarray:
    """The lengths of sequences, without reading those of a dataset that knows them."""
    sizes = getattr(sequences, "sizes", None)
    return np.array(list(map(len, sequences)) if sizes is None else sizes, dtype=np.int64)


class Selected:
    """Elements of a dataset of sequences, in any order, each as often as wanted.

    Args:
        dataset: the sequences.
        indices: index of each element.
    """

    def __init__(self, dataset: Sequence[Tensor], indices: np.ndarray):
        self.dataset, self.indices = dataset, indices

    @property
    def sizes(self) -> np.ndarray:
        """The lengths of all sequences."""
        return lengths_of(self.dataset)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        return self.dataset[int(self.indices[index])]


class WithoutEnd:
    """A dataset of sequences, without the ``</s>`` at the end of each.

    Args:
        dataset: the sequences, with ``</s>``.
        offset: number to take from each element.
    """

    def __init__(self, dataset: Sequence[Tensor], offset: int = 0):
        self.dataset, self.offset = dataset, offset

    @property
    def sizes(self) -> np.ndarray:
        """The lengths of all sequences."""
        return lengths_of(self.dataset) - 1

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return self.dataset[index][:-1] - self.offset
