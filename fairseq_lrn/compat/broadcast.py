"""With torch 2.6 and later, several processes of fairseq (0.12.2, 0.12.3) cannot resume training.

The first process reads the checkpoint and sends it to the others, which load it with
``torch.load``. That refuses the configuration in it (``weights_only=True``). The patch sends
objects with torch's own function. What it receives comes from a process of the same training run.
"""

import torch.distributed as dist

from fairseq_lrn.compat.patching import patch


def patch_broadcast() -> None:
    """Let fairseq's processes send each other objects of any type."""
    from fairseq.distributed import utils

    def build(original):
        def _broadcast_object_slow(obj, src_rank, group, dist_device):
            if not isinstance(group, dist.ProcessGroup):  # a TPU
                return original(obj, src_rank, group, dist_device)
            objects = [obj]
            dist.broadcast_object_list(objects, src_rank, group, dist_device)
            return objects[0]

        return _broadcast_object_slow

    patch(utils, "_broadcast_object_slow", build)
