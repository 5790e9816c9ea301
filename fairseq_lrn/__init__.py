"""Lightweight recurrent networks (LRN) for fairseq and PyTorch.

Use this package as fairseq's user directory, ``--user-dir fairseq_lrn``, or import it: either way
its models, tasks, criterions and optimisers are registered with fairseq. Without fairseq,
:class:`LRN` and :mod:`fairseq_lrn.ops` work; everything else says what to install.
"""

from fairseq_lrn.compat import apply_patches, require_fairseq
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules import LRN

__version__ = "0.1.0"
__all__ = [
    "Classification",
    "Classifier",
    "Entity",
    "FoundAnswer",
    "InputError",
    "LRN",
    "LRNClassifier",
    "LRNLanguageModel",
    "LRNModel",
    "LRNPairClassifier",
    "LRNReader",
    "LRNTagger",
    "LanguageModel",
    "RNMTModel",
    "Reader",
    "Tagger",
    "Tagging",
    "TransformerLRNModel",
    "Translation",
    "Translator",
    "__version__",
    "load_classifier",
    "load_language_model",
    "load_reader",
    "load_tagger",
    "load_translator",
]

try:
    require_fairseq()
except ImportError as error:
    _remedy = str(error)

    def __getattr__(name: str):
        if name in __all__:
            raise ImportError(_remedy)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

else:
    apply_patches(__path__)
    # Not lazily: fairseq does not import models/ and tasks/ of a user directory that was imported.
    import fairseq_lrn.criterions
    import fairseq_lrn.data.prepared_text
    import fairseq_lrn.generation.hub
    import fairseq_lrn.optim
    import fairseq_lrn.tasks  # noqa: F401
    from fairseq_lrn.generation.classifier import Classification, Classifier, load_classifier
    from fairseq_lrn.generation.language_model import LanguageModel, load_language_model
    from fairseq_lrn.generation.reader import FoundAnswer, Reader, load_reader
    from fairseq_lrn.generation.tagger import Entity, Tagger, Tagging, load_tagger
    from fairseq_lrn.generation.translator import Translation, Translator, load_translator
    from fairseq_lrn.models import (
        LRNClassifier,
        LRNLanguageModel,
        LRNModel,
        LRNPairClassifier,
        LRNReader,
        LRNTagger,
        RNMTModel,
        TransformerLRNModel,
    )
