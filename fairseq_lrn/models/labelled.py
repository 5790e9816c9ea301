"""Base class of models of labelled text."""

from typing import Any, ClassVar, Dict, Tuple, Type

from fairseq.models import BaseFairseqModel
from torch import Tensor, nn

from fairseq_lrn.errors import DataMismatch
from fairseq_lrn.models.dictionaries import check_dictionaries, remember_dictionaries
from fairseq_lrn.models.word_input import WordInputConfig
from fairseq_lrn.modules.linear import repack_changed_weights


class LabelledModel(BaseFairseqModel):
    """A model whose sizes depend on the dictionaries and the labels of its data.

    Attributes:
        CONFIG: dataclass of its options.
    """

    CONFIG: ClassVar[Type[WordInputConfig]]

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "LabelledModel":
        """Build a model for a task with ``source_dictionary``.

        Raises:
            ValueError: an option has an invalid value, or does not fit the data or the task.
            InputError: the data are of another kind, or the word vectors cannot be used.
        """
        cfg = cls.CONFIG.from_namespace(cfg)
        cfg.check()
        words, characters = task.source_dictionary, getattr(task, "character_dictionary", None)
        model = cls(cfg, words, characters, *cls.task_arguments(task))
        labels = getattr(task, "label_dictionary", None)
        remember_dictionaries(model, word=words, character=characters, label=labels)
        return model

    @classmethod
    def task_arguments(cls, task: Any) -> Tuple[Any, ...]:
        """Further arguments of the constructor. Refuses a task whose data do not fit the model.

        Raises:
            ValueError: the model is for another task, or for other data.
        """
        return ()

    args: Any = None  # in which fairseq 0.12.2's sentence_prediction looks for options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of :meth:`forward`, with packed weights that are up to date."""
        repack_changed_weights(self)
        return super().__call__(*args, **kwargs)

    def label_maps(self) -> Dict[str, nn.Module]:
        """The maps whose outputs are the scores of the labels, by their names in the model."""
        return {}

    def upgrade_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Called by fairseq before it loads a checkpoint.

        Raises:
            DataMismatch: the checkpoint has other dictionaries or labels than the data.
        """
        super().upgrade_state_dict(state_dict)
        for name, module in self.label_maps().items():
            saved = state_dict.get(f"{name}.weight")
            if saved is not None and len(saved) != len(module.weight):
                raise DataMismatch(
                    f"the checkpoint has {len(saved)} labels, but the data have "
                    f"{len(module.weight)}: give the data that the model was trained on"
                )
        check_dictionaries(self, state_dict)
