"""Trainings that are killed, or run out of room."""

import json
import os
import random
import re
import signal
import time

import torch

from fairseq_lrn import checkpoints

KILLS = 20
UPDATES = 200  # many more than are made between the kills
OPTIONS = [
    *("--arch", "lrn_tiny", "--word-dropout", "0.1", "--optimizer", "torch_adam", "--lr", "0.003"),
    *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", "20"),
    *("--criterion", "fused_label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
    *("--max-tokens", "500", "--max-update", str(UPDATES), "--save-interval-updates", "3"),
    *("--keep-interval-updates", "2", "--keep-last-epochs", "2", "--disable-validation"),
    *("--log-format", "json", "--log-interval", "1", "--num-workers", "0"),
]


def losses(directory):
    """What was logged for each update, each time that it was computed."""
    found = {}
    for line in (directory / "log").read_text().splitlines():
        _, _, record = line.rpartition(" | ")
        if "train_inner" in line and record.startswith("{"):
            record = json.loads(record)
            found.setdefault(int(record["num_updates"]), set()).add(record["loss"])
    return found


def updates(directory):
    """How many updates were logged so far."""
    log = directory / "log"
    return log.read_text().count("| train_inner |") if log.exists() else 0


def test_killed_at_any_moment(toy_data, start, tmp_path):
    """It goes on from a whole checkpoint, and as if it had not been killed: bit for bit."""

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
        process.join(dice.uniform(0, 2 * update_time))  # some of it goes into saving
        assert process.exitcode is None, "raise UPDATES: it came to its end"
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
    """What was saved before can be used, and the message says what happened."""
    arguments = [toy_data, "--user-dir", cold_command.root / "fairseq_lrn", *OPTIONS]
    arguments += ["--save-dir", tmp_path / "checkpoints"]
    cold_command("fairseq-train", *arguments, "--max-update", "3")
    saved = tmp_path / "checkpoints" / "checkpoint_last.pt"
    size = saved.stat().st_size
    output = cold_command(
        *("bash", "-c", 'ulimit -f $(($1 / 2048)); shift; exec "$@"', "limited", str(size)),
        *("fairseq-train", *arguments),
        ok=False,
    )
    assert "checkpoint_1_6.pt: File too large; files written before are as they were" in output
    names = sorted(path.name for path in saved.parent.iterdir())
    text = ["dict.de.txt", "dict.en.txt", "prepare.json", "sentencepiece.bpe.model"]
    assert names == ["checkpoint_1_3.pt", "checkpoint_last.pt", *text]
    assert "Loaded checkpoint" in cold_command("fairseq-train", *arguments, "--max-update", "6")
