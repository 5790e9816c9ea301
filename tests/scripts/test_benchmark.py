"""The options of scripts/benchmark.py, and the files that it writes and reads."""

import json
import sys

import pytest
import torch

import benchmark
from benchmarks import operator_speed, scaling
from fairseq_lrn.errors import InputError


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs scripts/benchmark.py in this process and returns its output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
        benchmark.main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("measure", ["scan", "layer"])
def test_table_and_file(run, monkeypatch, tmp_path, measure):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    path = tmp_path / "figures.json"
    output = run(measure, "--shape", "3,2,8", "--rounds", 1, "--json", path)
    figures = json.loads(path.read_text())
    assert figures["machine"]["torch"] == torch.__version__
    assert f"torch: {torch.__version__}" in output
    for row in figures["comparisons"]:
        ratio = row["peer_ms"] / row["lrn_ms"]
        assert f"| {row['peer']} | {row['peer_ms']:.3f} | {ratio:.2f} |" in output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["scan", "--shape", "3,2"], "give three sizes as T,B,H, not 3,2"),
        (["scan", "--shape", "3,2,0"], "give a number above 0, not 0"),
        (["scan", "--rounds", "0"], "--rounds: give a number above 0, not 0"),
        (["generate", "data", "--model", "lrn"], "give NAME=CHECKPOINT, not lrn"),
        (["generate", "data", "--model", "lrn="], "give NAME=CHECKPOINT, not lrn="),
        (["step", "data", "--model", "a=b", "--batch-sizes", "x"], "above 0, not x"),
    ],
)
def test_options_that_cannot_be_parsed(run, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        pytest.param(
            ["layer", "--device", "cuda"],
            "--device cuda: torch finds no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (["train", "data", "--models", "gru"], "no model is called gru; choose from: lrn"),
        (["train", "data", "--updates", "7"], "--updates must be a multiple of 5, not 7"),
        (["train", "data", "--skip", "0"], "--skip must be a multiple of 5, not 0"),
        (["train", "data", "--json", "absent/a.json"], "give a file in a directory that exists"),
        (["scaling", "--resume"], "--resume needs --json FILE"),
        (["newton", "--data", "data"], "--model and --data belong together: give both or none"),
        (["newton", "--cost", "1,1,1", "--json", "a.json"], "--cost measures nothing: leave out"),
        (["scan", "--plot", "absent/a.png"], "cannot write absent/a.png: give a file in a dir"),
        (["scan", "--plot", "a.xyz"], "--plot a.xyz: give a name that ends in .pdf or .png or"),
        (["lm", "--plot", "a.png", "--positions"], "--plot draws the times at --positions"),
        (["lm", "--plot", "a.png", "--models", "lstm_lm"], "of lrn and transformer_lm: give some"),
    ],
)
def test_wrong_options(run, arguments, message):
    with pytest.raises(InputError, match=message):
        run(*arguments)


def test_plot_without_matplotlib(run, monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--plot needs matplotlib: pip install matplotlib"):
        run("scaling", "--plot", "scaling.png")


def test_resumed_scaling(run, monkeypatch, tmp_path):
    """The file has the figures of all runs, and none is measured twice."""

    def measure(models, kinds, lengths, tokens, known):
        for length in lengths:
            earlier = [cost for cost in known if cost.length == length]
            yield (earlier or [scaling.Cost("lrn", "decode", length, 4, float(len(known)), 1.0)])[0]

    monkeypatch.setattr(scaling, "measure", measure)
    path = tmp_path / "figures.json"
    options = ["scaling", "--resume", "--json", path, "--lengths"]
    assert run(*options, 4).splitlines()[-1] == "| decode | 4 | 4 | lrn | 0.00 | 0.00 | 1 |"
    output = run(*options, 4, 8).splitlines()
    assert output[-2:] == [
        "| decode | 4 | 4 | lrn | 0.00 | 0.00 | 1 |",
        "| decode | 8 | 4 | lrn | 1.00 | 125.00 | 1 |",
    ]
    run(*options, 8)
    saved = json.loads(path.read_text())
    assert {cost["length"] for cost in saved["comparisons"]} == {4, 8}

    path.write_text(json.dumps({**saved, "machine": {"processor": "another"}}))
    with pytest.raises(
        InputError, match=r"on another machine \(processor: another\): give another"
    ):
        run(*options, 8)
    with pytest.raises(InputError, match="figures.json exists: give --resume to go on with it"):
        run("scaling", "--json", path)
    path.write_text("{}")
    with pytest.raises(InputError, match="has no figures of scaling: give another file"):
        run(*options, 8)
