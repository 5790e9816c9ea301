"""Two processes of fairseq-train that train one model on a CPU."""

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
    """A function that starts fairseq-train.

    Its first argument is the name of the log file and of the directory of checkpoints.
    """
    return lambda name, *options: start(
        *(tmp_path / f"{name}.log", "train", toy_data, *OPTIONS, *options),
        *("--save-dir", tmp_path / name),
    )


def test_two_processes_equal_one(train, tmp_path):
    """They train the same parameters as one process with --update-freq 2."""
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
    finally:  # if one process fails, the other would wait for it
        for process in processes.values():
            process.kill()
    process = train("single", "--update-freq", "2")
    process.join()
    log = (tmp_path / "single.log").read_text()
    assert process.exitcode == 0, log[-3000:]
    pair, single = (
        checkpoints.load(str(tmp_path / name / "checkpoint_last.pt"))["model"]
        for name in ("first", "single")
    )
    torch.testing.assert_close(pair, single, rtol=0, atol=1e-5)
    # The second process has an effect: without it, the parameters would differ.
    process = train("half")
    process.join()
    half = checkpoints.load(str(tmp_path / "half" / "checkpoint_last.pt"))["model"]
    assert any((half[key] - single[key]).abs().max() > 1e-4 for key in single)
