"""fairseq (0.12.3) builds other batches in a resumed training run.

It groups sentences into batches in the first epoch of a process, with that epoch's seed, and keeps
these batches for later epochs. A training run that is resumed in a later epoch would therefore see
other batches than one that was never interrupted. The patch groups sentences anew in each epoch.
fairseq 0.12.2 has one seed for all epochs, so its batches stay the same, and the patch has no
effect.

fairseq 0.12.3 groups them anew if the options of the task have ``rebuild_batches``. Only tasks for
speech define it. While the batches are set up, the patch adds it as an attribute of the options,
whatever their form: the options stay the same object, with the same items and flags.
"""

import contextlib
from argparse import Namespace
from typing import Any, Iterator

from fairseq_lrn.compat.patching import patch

OPTION = "rebuild_batches"


@contextlib.contextmanager
def rebuilding_batches(task: Any) -> Iterator[None]:
    """Give the options of a task ``rebuild_batches``, unless they have this option or cannot."""
    options = getattr(task, "cfg", None)
    if options is None:  # tasks that are configured without a dataclass
        with contextlib.suppress(AttributeError):
            task.cfg = Namespace(**{OPTION: True})
        try:
            yield
        finally:
            with contextlib.suppress(AttributeError):
                task.cfg = None
    elif hasattr(options, OPTION) or not hasattr(options, "__dict__"):
        yield
    else:
        vars(options)[OPTION] = True  # not setattr, which a locked configuration refuses
        try:
            yield
        finally:
            del vars(options)[OPTION]


def patch_batch_order() -> None:
    """Let fairseq group sentences into batches anew in each epoch."""
    from fairseq.trainer import Trainer

    def build(original):
        def get_train_iterator(self, *args, **kwargs):
            with rebuilding_batches(self.task):
                return original(self, *args, **kwargs)

        return get_train_iterator

    patch(Trainer, "get_train_iterator", build)
