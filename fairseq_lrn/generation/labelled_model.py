"""What trained classifiers, taggers and readers share: raw text in, batches of similar length."""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from fairseq_lrn.data.labelled_dataset import LabelledDataset, Selected, TextInput
from fairseq_lrn.data.labelled_text import LabelledText, character_indices
from fairseq_lrn.data.text_files import LABELLED
from fairseq_lrn.generation.inputs import batches, count
from fairseq_lrn.generation.loading import PathLike, load_one, usable_device


class Predictor:
    """A trained classifier, tagger or reader.

    Args:
        model: the model; it is moved to *device* and prepared for inference.
        task: its task.
        text: converts raw text to words.
        device: device of the model.

    Attributes:
        labels: the labels, or the tags in the scheme IOBES; readers have none.
    """

    def __init__(self, model: Any, task: Any, text: LabelledText, device: torch.device):
        self.model = model.eval().to(device)
        self.model.make_generation_fast_()
        self.task, self.text, self.device = task, text, device
        self.labels: List[str] = task.labels

    def batches_of(
        self, texts: Sequence[Sequence[List[str]]], batch_size: int, progress: Optional[bool]
    ) -> Iterator[Tuple[List[int], Dict[str, Tensor]]]:
        """Batches of texts as the model reads them. A batch of long texts has fewer of them.

        Args:
            texts: for each of the one or two texts of a sample, the words of all samples. Samples
                with the same list share its indices.
            batch_size: largest number of samples in a batch.
            progress: show a progress bar; None: on a terminal, from 100 samples on.

        Yields:
            indices of samples, and the arguments of the model.

        Raises:
            InputError: *batch_size* is not a whole number above 0.
        """
        batch_size = count("batch_size", batch_size)
        dataset = self.task.build_dataset([self._input(words) for words in texts])
        for indices in batches(dataset.sizes.tolist(), batch_size, progress):
            yield indices, self._on_device(dataset, indices)

    def _input(self, texts: Sequence[List[str]]) -> TextInput:
        distinct = {id(text): text for text in texts}
        numbers = {name: number for number, name in enumerate(distinct)}
        indices = np.array([numbers[id(text)] for text in texts], dtype=np.int64)
        words = [self.text.indices(text, self.task.dictionary)[:-1] for text in distinct.values()]
        if not self.task.reads_characters:
            return TextInput(Selected(words, indices))
        dictionary = self.task.character_dictionary
        characters = [character_indices(text, dictionary) for text in distinct.values()]
        return TextInput(Selected(words, indices), Selected(characters, indices))

    def _on_device(self, dataset: LabelledDataset, indices: List[int]) -> Dict[str, Tensor]:
        batch = dataset.collater([dataset[index] for index in indices])
        return {name: value.to(self.device) for name, value in batch["net_input"].items()}


class LoadedParts(NamedTuple):
    """The arguments of :class:`Predictor`."""

    model: Any
    task: Any
    text: LabelledText
    device: torch.device


def load_parts(
    path: PathLike,
    checkpoint: Optional[PathLike],
    data: Optional[PathLike],
    device: Optional[str],
    task_name: str,
    kind: str,
) -> LoadedParts:
    """Load a trained classifier, tagger or reader.

    Args:
        path, checkpoint, data: see :func:`~fairseq_lrn.generation.loading.load_one`.
        device: name of the device; None: a GPU if there is one.
        task_name: name of the task that trains such models.
        kind: what the model is, for messages.

    Raises:
        InputError: the checkpoint, the files of raw text or the device cannot be used.
    """
    torch_device = usable_device(device)
    _, model, task, directory = load_one(path, checkpoint, data, LABELLED, (task_name,), kind)
    return LoadedParts(model, task, LabelledText(directory), torch_device)
