"""Language models. The file of the model stands next to the file of its options."""

# The model must be registered before the architectures, which refer to it.
from fairseq_lrn.models.language_modeling.lm_model import LRNLanguageModel  # isort: skip
from fairseq_lrn.models.language_modeling import architectures  # noqa: F401  isort: skip

__all__ = ["LRNLanguageModel"]
