"""Training runs that are killed, or that fill the disk."""

import json
import os
import random
import re
import signal
import time

import torch

from fairseq_lrn import checkpoints

KILLS = 8
UPDATES = 90  # many more than the updates between the kills
OPTIONS = [
    *("--arch", "lrn_tiny", "--word-dropout", "0.1", "--optimizer", "torch_adam", "--lr", "0.003"),
    *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", "20"),
    *("--criterion", "fused_label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
    *("--max-tokens", "500", "--max-update", str(UPDATES), "--save-interval-updates", "2"),
    *("--keep-interval-updates", "2", "--keep-last-epochs", "2", "--disable-validation"),
    *("--log-format", "json", "--log-interval", "1", "--num-workers", "0"),
]


def losses(directory):
    """All losses that were logged for each update, which may be computed repeatedly."""
    found = {}
    for line in (directory / "log").read_text().splitlines():
        _, _, record = line.rpartition(" | ")
        if "train_inner" in line and record.startswith("{"):
            record = json.loads(record)
            found.setdefault(int(record["num_updates"]), set()).add(record["loss"])
    return found


def updates(directory):
    """The number of updates in the log so far."""
    log = directory / "log"
    return log.read_text().count("| train_inner |") if log.exists() else 0


def test_killed_at_any_moment(toy_data, start, tmp_path):
    """Training resumes from a complete checkpoint, with the results of an undisturbed run.

    The results are identical to the bit.
    """

    def train(name):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        arguments = [toy_data, *OPTIONS, "--save-dir", directory / "checkpoints"]
        return start(directory / "log", "train", *arguments)

    process, began = train("undisturbed"), time.monotonic()
    process.join()
    assert process.exitcode == 0
    update_time = (time.monotonic() - began) / UPDATES
    killed, dice, log = tmp_path / "killed", random.Random(1), tmp_path / "killed" / "log"
    for _ in range(KILLS):
        enough = updates(killed) + dice.randint(0, 5)
        process = train("killed")
        while updates(killed) < enough and process.exitcode is None:
            process.join(0.01)
        process.join(dice.uniform(0, 2 * update_time))  # sometimes while a checkpoint is saved
        assert process.exitcode is None, "training ended before it was killed: raise UPDATES"
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, log.read_text()[-3000:]
        for path in (killed / "checkpoints").glob("*.pt"):
            checkpoints.load(str(path))
    process = train("killed")
    process.join()
    assert process.exitcode == 0, log.read_text()[-3000:]
    resumed = re.findall(r"Loaded checkpoint .* @ (\d+) updates", log.read_text())
    print(f"resumed after updates {resumed}")
    assert len(set(resumed)) > KILLS // 4
    states = [
        checkpoints.load(str(tmp_path / name / "checkpoints" / "checkpoint_last.pt"))
        for name in ("undisturbed", "killed")
    ]
    for part in ("model", "last_optimizer_state"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    expected = losses(tmp_path / "undisturbed")
    assert len(expected) == UPDATES and losses(killed) == expected


def test_full_disk(cold_command, toy_data, tmp_path):
    """Earlier checkpoints remain usable, and the message says what happened."""
    arguments = [toy_data, "--user-dir", cold_command.root / "fairseq_lrn", *OPTIONS]
    arguments += ["--save-dir", tmp_path / "checkpoints"]
    cold_command("fairseq-train", *arguments, "--max-update", "2")
    saved = tmp_path / "checkpoints" / "checkpoint_last.pt"
    size = saved.stat().st_size
    output = cold_command(
        *("bash", "-c", 'ulimit -f $(($1 / 2048)); shift; exec "$@"', "limited", str(size)),
        *("fairseq-train", *arguments),
        ok=False,
    )
    assert "checkpoint_1_4.pt: File too large; earlier files are unchanged" in output
    names = sorted(path.name for path in saved.parent.iterdir())
    text = ["dict.de.txt", "dict.en.txt", "prepare.json", "sentencepiece.bpe.model"]
    assert names == ["checkpoint_1_2.pt", "checkpoint_last.pt", *text]
    assert "Loaded checkpoint" in cold_command("fairseq-train", *arguments, "--max-update", "6")
