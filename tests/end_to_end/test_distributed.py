"""Two processes that train one model, through fairseq-train on a CPU."""

import pytest
import torch

from fairseq_lrn import checkpoints

OPTIONS = [
    *("--arch", "lrn_tiny", "--dropout", "0", "--max-tokens", "500", "--max-update", "8"),
    *("--optimizer", "torch_adam", "--lr", "0.001", "--cpu", "--disable-validation"),
    *("--criterion", "fused_label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
    *("--num-workers", "0"),
]


@pytest.fixture
def train(start, toy_data, tmp_path):
    """Start fairseq-train; its messages and checkpoints have the name given first."""
    return lambda name, *options: start(
        *(tmp_path / f"{name}.log", "train", toy_data, *OPTIONS, *options),
        *("--save-dir", tmp_path / name),
    )


def test_two_processes_are_as_one(train, tmp_path):
    """The same parameters as with --update-freq 2."""
    options = ["--distributed-world-size", "2", "--distributed-no-spawn"]
    options += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    options += ["--distributed-init-method", f"file://{tmp_path / 'meeting'}"]
    processes = {
        name: train(name, *options, "--distributed-rank", rank)
        for rank, name in enumerate(("first", "second"))
    }
    try:
        for name, process in processes.items():
            process.join(300)
            assert process.exitcode == 0, (tmp_path / f"{name}.log").read_text()[-3000:]
    finally:  # one that failed leaves the other waiting
        for process in processes.values():
            process.kill()
    process = train("one", "--update-freq", "2")
    process.join()
    log = (tmp_path / "one.log").read_text()
    assert process.exitcode == 0, log[-3000:]
    two, one = (
        checkpoints.load(str(tmp_path / name / "checkpoint_last.pt"))["model"]
        for name in ("first", "one")
    )
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
    # Not the same because the second process did nothing: alone, the first would differ.
    process = train("alone")
    process.join()
    alone = checkpoints.load(str(tmp_path / "alone" / "checkpoint_last.pt"))["model"]
    assert any((alone[key] - one[key]).abs().max() > 1e-4 for key in one)
