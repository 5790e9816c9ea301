"""What the tasks of labelled text share: dictionaries, data, and building a model."""

import logging
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from fairseq.data import Dictionary, data_utils
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from omegaconf import II, MISSING
from torch import Tensor

from fairseq_lrn.data import text_files
from fairseq_lrn.data.labelled_dataset import LabelledDataset, TextInput, WithoutEnd
from fairseq_lrn.data.labelled_files import PAIR
from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum

logger = logging.getLogger(__name__)

PREPARE = "prepare it with fairseq-lrn prepare-labelled"
REMEDIES = {  # for a missing subset
    "valid": f": {PREPARE} --validpref FILE, or train with --disable-validation",
    "test": f": {PREPARE} --testpref FILE",
}


@dataclass
class LabelledTextConfig(FairseqDataclass):
    """Options of the tasks of labelled text."""

    data: str = field(
        default=MISSING, metadata={"help": "directory that fairseq-lrn prepare-labelled made"}
    )
    max_word_length: int = field(
        default=25, metadata={"help": "characters of a word that the model reads"}
    )
    required_seq_len_multiple: int = II("dataset.required_seq_len_multiple")


class Samples(NamedTuple):
    """The samples of a subset, as :class:`LabelledDataset` takes them."""

    inputs: List[TextInput]
    labels: Sequence[Tensor]
    references: Optional[Sequence[Any]] = None


class LabelledTextTask(FairseqTask):
    """A task whose data have words, characters, and labels.

    A subclass says in ``KINDS`` which data it takes, whether they have a dictionary of labels, and
    in ``CRITERION`` which loss its models are trained with.

    Attributes:
        max_words: training texts are cut to so many words; None: never.

    Args:
        cfg: options.
        dictionary: dictionary of the words.
        characters: dictionary of the characters, or None.
        labels: dictionary of the labels, or None.

    Raises:
        InputError: an option is out of range.
    """

    KINDS: Tuple[str, ...] = ()
    CRITERION = ""
    HAS_LABEL_DICTIONARY = True
    max_words: Optional[int] = None

    def __init__(
        self,
        cfg: LabelledTextConfig,
        dictionary: Dictionary,
        characters: Optional[Dictionary],
        labels: Optional[Dictionary],
    ):
        super().__init__(cfg)
        check_minimum(1, max_word_length=cfg.max_word_length)
        self.dictionary, self.character_dictionary = dictionary, characters
        self.label_dictionary = labels
        self.reads_characters = characters is not None
        self.evaluated: Dict[str, LabelledDataset] = {}  # subsets with whole texts

    @classmethod
    def setup_task(cls, cfg: LabelledTextConfig, **kwargs: Any) -> "LabelledTextTask":
        """Load the dictionaries.

        Raises:
            InputError: the directory was not made by ``fairseq-lrn prepare-labelled``, or it has
                another kind of data.
        """
        kind = _recorded_kind(cfg.data)
        if kind not in (None, *cls.KINDS):
            raise InputError(
                f"{cfg.data} was prepared with --kind {kind}, but --task {cfg._name} needs "
                f"--kind {' or '.join(cls.KINDS)}"
            )
        words, characters, labels = (
            os.path.join(cfg.data, name, "dict.txt") for name in ("input0", "characters", "label")
        )
        for path in (words, labels) if cls.HAS_LABEL_DICTIONARY else (words,):
            if not os.path.isfile(path):
                raise InputError(f"{path} is missing, so {cfg.data} is no labelled text: {PREPARE}")
        return cls(
            cfg,
            Dictionary.load(words),
            Dictionary.load(characters) if os.path.isfile(characters) else None,
            Dictionary.load(labels) if cls.HAS_LABEL_DICTIONARY else None,
        )

    @property
    def source_dictionary(self) -> Dictionary:
        """The dictionary of the words."""
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """The dictionary of the words; fairseq expects that there is one."""
        return self.dictionary

    @property
    def labels(self) -> List[str]:
        """The labels (or tags), in the order in which models count them."""
        if self.label_dictionary is None:
            return []
        return self.label_dictionary.symbols[self.label_dictionary.nspecial :]

    @property
    def num_inputs(self) -> int:
        """Number of texts of each sample."""
        kind = _recorded_kind(self.cfg.data)
        has_two = os.path.isdir(os.path.join(self.cfg.data, "input1"))
        return 2 if kind == PAIR or (kind is None and has_two) else 1

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model. From a checkpoint, it needs no file of word vectors."""
        if from_checkpoint and getattr(cfg, "word_vectors", None) is not None:
            from omegaconf import open_dict

            with open_dict(cfg):
                cfg.word_vectors, cfg.freeze_word_vectors, cfg.tuned_word_vectors = None, False, 0
        vectors = os.path.join(self.cfg.data, text_files.VECTORS)
        if (
            not from_checkpoint
            and getattr(cfg, "word_vectors", vectors) is None
            and os.path.isfile(vectors)
        ):
            logger.warning(
                "words that only validation or test texts have are in the dictionary because they "
                "have a vector, but the model does not read the vectors: give --word-vectors %s",
                vectors,
            )
        model = super().build_model(cfg, from_checkpoint)
        self.reads_characters = getattr(model, "reads_characters", False)
        return model

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the criterion: :attr:`CRITERION`, or one of another package.

        Raises:
            InputError: it is a criterion of fairseq or of this package for other tasks.
        """
        criterion = super().build_criterion(cfg, *args, **kwargs)
        name = getattr(cfg, "_name", None)
        package = type(criterion).__module__.partition(".")[0]
        if name != self.CRITERION and package in ("fairseq", "fairseq_lrn"):
            raise InputError(
                f"--criterion {name} does not fit --task {self.cfg._name}: give --criterion "
                f"{self.CRITERION}"
            )
        return criterion

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Tuple[Any, Any, Any]:
        """The loss and the logging output of a batch; of an empty batch there are none.

        With several processes, fairseq-validate gives empty batches to those that have none left.
        """
        return super().valid_step(sample, model, criterion) if sample else (0.0, 0, {})

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> LabelledDataset:
        """Load a subset.

        Raises:
            FileNotFoundError: there is no such subset.
            InputError: its parts do not belong together.
        """
        is_training = "data_selector" in kwargs  # fairseq's trainer gives it for training data only
        samples = self.samples(split, combine, is_training)
        dataset = self.datasets[split] = LabelledDataset(
            samples.inputs,
            self.dictionary,
            self.character_dictionary if self.reads_characters else None,
            samples.labels,
            references=samples.references,
            max_words=self.max_words if is_training else None,
            max_word_length=self.cfg.max_word_length,
            shuffle=is_training,
            length_multiple=self.cfg.required_seq_len_multiple if is_training else 1,
        )
        if not is_training:
            self.evaluated[split] = dataset  # compat/trained_subset.py reads it
        return dataset

    def samples(self, split: str, combine: bool, is_training: bool) -> Samples:
        """The texts and labels of a subset.

        Args:
            split: name of the subset.
            combine: join its shards.
            is_training: whether models are trained on it.
        """
        assert self.label_dictionary is not None
        inputs = [self._text(split, number, combine) for number in range(self.num_inputs)]
        labels = WithoutEnd(
            self._indexed("label", split, self.label_dictionary, combine),
            self.label_dictionary.nspecial,
        )
        return Samples(inputs, self.labels_of(labels, inputs[0].words, split))

    def build_dataset(self, inputs: Sequence[TextInput]) -> LabelledDataset:
        """A dataset of texts without labels, in the order of their lengths."""
        return LabelledDataset(
            inputs,
            self.dictionary,
            self.character_dictionary if self.reads_characters else None,
            max_word_length=self.cfg.max_word_length,
        )

    def labels_of(
        self, labels: Sequence[Tensor], words: Sequence[Tensor], split: str
    ) -> Sequence[Tensor]:
        """The labels as :class:`LabelledDataset` takes them.

        Args:
            labels: of each sample, its label or its tags.
            words: of each sample.
            split: name of the subset, for messages.
        """
        raise NotImplementedError

    def _text(self, split: str, number: int, combine: bool) -> TextInput:
        words = WithoutEnd(self._indexed(f"input{number}", split, self.dictionary, combine))
        if not self.reads_characters:
            return TextInput(words)
        name = f"characters{number}"
        return TextInput(words, self._indexed(name, split, self.character_dictionary, combine))

    def _indexed(self, name: str, split: str, dictionary: Any, combine: bool) -> Any:
        path = os.path.join(self.cfg.data, name, split)
        dataset = data_utils.load_indexed_dataset(path, dictionary, combine=combine)
        if dataset is None:
            raise FileNotFoundError(f"Dataset not found: {split} ({path}){REMEDIES.get(split, '')}")
        return dataset


def _recorded_kind(directory: str) -> Optional[str]:
    """The ``--kind`` of prepared data, or None if ``prepare-labelled`` did not make them."""
    if not os.path.isfile(os.path.join(directory, text_files.LABELLED.record)):
        return None
    return text_files.LABELLED.read(directory)["kind"]
