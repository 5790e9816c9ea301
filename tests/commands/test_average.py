"""fairseq-lrn average: checkpoints, and the end of a training run."""

import pytest
import torch

from fairseq_lrn import checkpoints
from fairseq_lrn.commands.main import main


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
        (["--checkpoint-upper-bound", 5], "--checkpoint-upper-bound has no effect on named files"),
        (["--last", 2], "--last does not apply without a directory: leave it out"),
        ([], "is a directory: give --num-epoch-checkpoints N"),
    ],
)
def test_refused_input(refuse, directory, options, message):
    output = directory / "averaged.pt"
    assert message in refuse("average", "--inputs", directory, "--output", output, *options)
    assert not output.exists()


@pytest.fixture
def save_run(untrained, tmp_path):
    """A function: write a run whose checkpoints are those of *untrained*, plus so much noise."""

    def save(best, *ends):
        state = checkpoints.load(str(untrained / "checkpoint_best.pt"))
        generator = torch.Generator().manual_seed(1)
        weights, noise = state["model"], {}
        for name, value in weights.items():
            noise[name] = torch.randn(value.shape, generator=generator)
        names = ["checkpoint_best.pt", *(f"checkpoint{n}.pt" for n in range(1, len(ends) + 1))]
        for updates, (name, scale) in enumerate(zip(names, (best, *ends)), 100):
            state["model"] = {
                n: value + scale * noise[n] if value.is_floating_point() else value
                for n, value in weights.items()
            }
            state["optimizer_history"][-1]["num_updates"] = updates
            checkpoints.save(state, str(tmp_path / name))
        checkpoints.save(state, str(tmp_path / "checkpoint_last.pt"))
        return tmp_path

    return save


def test_a_mean_that_is_better(save_run, capfd):
    directory = save_run(2.0, -2.0, 2.0)
    main(["average", str(directory)])
    printed = capfd.readouterr()
    assert printed.out == f"{directory / 'averaged.pt'}\n"  # alone, for scripts
    for number in (1, 2):
        assert f"averaging {directory / f'checkpoint{number}.pt'}\n" in printed.err
    assert "the mean is better on the validation set than checkpoint_best.pt: loss" in printed.err
    # Whoever loads a model is told what it is and why.
    reason = checkpoints.preference(str(directory))
    assert reason.startswith("the mean of 2 checkpoints, better on the validation set than check")
    assert checkpoints.preferred(str(directory)) == "averaged.pt"
    arguments = ["--inputs", str(directory / "checkpoint1.pt")]
    main(["average", *arguments, "--output", str(directory / "averaged.pt")])
    reason = checkpoints.preference(str(directory))
    assert reason.endswith(f"; fairseq-lrn average {directory} compares them")


def test_a_mean_that_is_not_better(save_run, capfd):
    directory = save_run(0.0, 2.0, 2.5)
    earlier = directory / "averaged.pt"
    checkpoints.save({"model": {}}, str(earlier))
    main(["average", str(directory), "--last", "2"])
    printed = capfd.readouterr()
    assert printed.out == f"{directory / 'checkpoint_best.pt'}\n"
    assert "the mean is not better on the validation set than checkpoint_best.pt" in printed.err
    assert not earlier.exists() and (directory / "averaged.unused.pt").exists()
    assert checkpoints.preferred(str(directory)) == "checkpoint_best.pt"


def test_one_checkpoint_has_no_mean(save_run, capfd):
    directory = save_run(0.0, 1.0)
    main(["average", str(directory)])
    printed = capfd.readouterr()
    assert printed.out == f"{directory / 'checkpoint_best.pt'}\n"
    assert "there is no mean of one checkpoint" in printed.err
    assert not (directory / "averaged.pt").exists()
    # A mean of checkpoints that are gone would be preferred to what was printed.
    checkpoints.save({"model": {}}, str(directory / "averaged.pt"))
    main(["average", str(directory)])
    assert "averaged.pt is now " in capfd.readouterr().err
    assert checkpoints.preferred(str(directory)) == "checkpoint_best.pt"


def test_data_that_were_moved(refuse, run, save_run, prepared_data):
    directory = save_run(2.0, -2.0, 2.0)
    message = refuse("average", directory, "--data", directory / "absent")
    assert "checkpoint_best.pt needs its data" in message and "give --data DIR" in message
    assert not (directory / "averaged.pt").exists()
    assert run("average", directory, "--data", prepared_data).endswith("averaged.pt\n")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--output", "x.pt"], "--output does not apply with a directory: leave it out"),
        (["--last", 0], "--last must be at least 1, not 0"),
        (["--user-dir", "absent"], "--user-dir absent cannot be imported (FileNotFoundError: "),
    ],
)
def test_refused_options_of_a_run(refuse, directory, options, message):
    assert message in refuse("average", directory, *options)


def test_without_arguments(refuse):
    assert "give the directory of a training run, or --inputs and --output" in refuse("average")
