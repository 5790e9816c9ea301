"""fairseq-lrn average."""

import pytest
import torch

from fairseq_lrn import checkpoints


@pytest.fixture
def directory(tmp_path):
    """Checkpoints of epochs 1 to 4 and of updates 10 and 20, with their number as the parameter."""
    names = [f"checkpoint{epoch}.pt" for epoch in (1, 2, 3, 4)]
    names += ["checkpoint_1_10.pt", "checkpoint_2_20.pt"]
    names += ["checkpoint.best_loss_2.50.pt", "checkpoint.best_loss_3.50.pt"]
    for number, name in enumerate(names, 1):
        state = {"model": {"w": torch.tensor(float(number))}, "cfg": None}
        checkpoints.save(state, str(tmp_path / name))
    return tmp_path


@pytest.mark.parametrize(
    "options, mean",
    [
        (["--num-epoch-checkpoints", 2], 3.5),
        (["--num-epoch-checkpoints", 2, "--checkpoint-upper-bound", 2], 1.5),
        (["--num-update-checkpoints", 2], 5.5),
        (["--num-best-checkpoints", 1], 7.0),
    ],
)
def test_checkpoints_of_a_directory(run, directory, options, mean):
    output = directory / "averaged.pt"
    printed = run("average", "--inputs", directory, "--output", output, *options)
    assert checkpoints.load(str(output))["model"]["w"].item() == mean
    assert printed.splitlines()[-1] == f"wrote {output}"


def test_files(run, directory):
    output, inputs = directory / "averaged.pt", [directory / f"checkpoint{n}.pt" for n in (1, 4)]
    run("average", "--inputs", *inputs, "--output", output)
    assert checkpoints.load(str(output))["model"]["w"].item() == 2.5


@pytest.mark.parametrize(
    "options, message",
    [
        (["--num-epoch-checkpoints", 0], "need N of at least 1"),
        (["--num-epoch-checkpoints", 9], "has 4 checkpoints"),
        ([], "cannot read checkpoint"),
    ],
)
def test_refused_input(refuse, directory, options, message):
    output = directory / "averaged.pt"
    assert message in refuse("average", "--inputs", directory, "--output", output, *options)
    assert not output.exists()
