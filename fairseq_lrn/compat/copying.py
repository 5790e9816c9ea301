"""fairseq (0.12.2, 0.12.3) makes models and tasks that can be neither copied nor pickled.

``make_generation_fast_`` stores a local function as ``model.train``, which pickle refuses. The
state of a task looks up every missing attribute in itself, so it recurses without end while it is
still empty, as in ``copy.deepcopy``. The types of options with several choices cannot be found by
their name, unless a class statement made them. A process pool needs all of them. The patches leave
the function out, end the recursion for names with a leading underscore, and pickle a type that has
no name to be found by as the list of its choices.
"""

import copyreg
import sys
from functools import reduce

from fairseq_lrn.compat.patching import patch


def patch_copying() -> None:
    """Let models and tasks of fairseq be copied and pickled."""
    from fairseq.dataclass.constants import ChoiceEnum, StrEnumMeta
    from fairseq.models import BaseFairseqModel
    from fairseq.tasks.fairseq_task import StatefulContainer

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "train"}

    def build_getattr(original):
        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__} has no attribute {name}")
            return original(self, name)

        return __getattr__

    def reduce_choices(choices):
        if _found_by_name(choices):
            return choices.__qualname__
        return ChoiceEnum, ([choice.value for choice in choices],)

    copyreg.pickle(StrEnumMeta, reduce_choices)
    patch(StatefulContainer, "__getattr__", build_getattr)
    if "__getstate__" not in vars(BaseFairseqModel):
        BaseFairseqModel.__getstate__ = __getstate__


def _found_by_name(kind: type) -> bool:
    """Whether pickle finds the class by its module and its name."""
    try:
        module = sys.modules[kind.__module__]
        return reduce(getattr, kind.__qualname__.split("."), module) is kind
    except (KeyError, AttributeError):
        return False
