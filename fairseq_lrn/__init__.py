"""LRN translation models for fairseq.

Use it as fairseq's user directory, ``--user-dir fairseq_lrn``, or import it: either way
its models and architectures are registered with fairseq.
"""

from fairseq_lrn import plugin

__version__ = "0.1.0"

plugin.require_fairseq()
plugin.announce_to_fairseq(__path__)
plugin.allow_checkpoint_types()
plugin.protect_checkpoints()
plugin.renew_batches()
plugin.tell_criterion()

import fairseq_lrn.tasks  # noqa: E402  (needs a working fairseq)
import fairseq_lrn.criterions  # noqa: E402, F401
from fairseq_lrn.models import LRNModel, RNMTModel, TransformerLRNModel  # noqa: E402
from fairseq_lrn.modules import LRN  # noqa: E402
from fairseq_lrn.generation.translator import Translation, Translator, load_translator  # noqa: E402

__all__ = [
    "LRN",
    "LRNModel",
    "RNMTModel",
    "TransformerLRNModel",
    "Translation",
    "Translator",
    "__version__",
    "load_translator",
]
