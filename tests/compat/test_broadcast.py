"""Processes send each other objects of any type; see also end_to_end/test_language_model.py."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fairseq.distributed import utils
from omegaconf import OmegaConf

from fairseq_lrn.compat.broadcast import patch_broadcast

SENT = {"cfg": {"lr": [0.1]}, "weights": [1.0, 2.0, 3.0]}


def process(rank, meeting):
    patch_broadcast()
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    given = None
    if rank == 0:
        given = {"cfg": OmegaConf.create(SENT["cfg"]), "weights": torch.tensor(SENT["weights"])}
    received = utils.broadcast_object(given, 0, dist.group.WORLD)
    assert OmegaConf.to_container(received["cfg"]) == SENT["cfg"]
    assert received["weights"].tolist() == SENT["weights"]
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no distributed package")
def test_a_configuration_and_a_tensor(tmp_path):
    mp.spawn(process, (tmp_path / "meeting",), nprocs=2)
