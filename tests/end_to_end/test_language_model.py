"""Language models with fairseq's commands: training, resuming, evaluation."""

import re

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.options import get_training_parser, parse_args_and_arch

from fairseq_lrn import checkpoints
from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.ops.cpu import has_bfloat16
from text_corpus import binarised_text, write_text

TRAIN = [
    *("--task", "stateful_language_modeling", "--arch", "lrn_lm", "--decoder-embed-dim", "16"),
    *("--decoder-hidden-size", "16", "--share-decoder-input-output-embed", "--locked-dropout"),
    *("--criterion", "language_model_cross_entropy", "--activation-reg", "2"),
    *("--temporal-activation-reg", "1", "--batch-size", "4", "--tokens-per-sample", "6"),
    *("--vary-segments", "--scale-lr-by-length", "--optimizer", "averaged_sgd"),
    *(
        "--nonmonotone-interval",
        "0",
        "--lr",
        "1",
        "--clip-norm",
        "0.25",
        "--no-epoch-checkpoints",
        "--num-workers",
        "0",
    ),
    *("--weight-dropout", "0.1", "--cpu"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return binarised_text(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def train(command, root, data):
    """A function that trains in a directory, on one thread."""

    def train(directory, *options, **kwargs):
        return command(
            *("env", "OMP_NUM_THREADS=1", "fairseq-train", data, "--save-dir", directory, *TRAIN),
            *("--user-dir", root / "fairseq_lrn", *options),
            **kwargs,
        )

    return train


def last(directory):
    return checkpoints.load(str(directory / "checkpoint_last.pt"))


VALIDATED = "--validate-interval-updates", "15", "--save-interval-updates", "15"


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """A training run of 40 updates, which end inside of an epoch."""
    directory = tmp_path_factory.mktemp("trained")
    train(directory, "--max-update", "40", *VALIDATED)
    return directory


def test_resumed_run_is_the_same(train, trained, tmp_path):
    """Bit for bit: parameters, their averages and the carried states, with validation between."""
    for updates in ("15", "40"):
        train(tmp_path, "--max-update", updates, *VALIDATED)
    expected, found = last(trained), last(tmp_path)
    iterator = found["extra_state"]["train_iterator"]
    assert iterator["iterations_in_epoch"] > 0 and len(iterator["carried"]) == 2
    assert any(state.abs().max() > 0 for state in iterator["carried"])
    for key in ("model", "last_optimizer_state"):
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=0)
    carried = expected["extra_state"]["train_iterator"]["carried"]
    torch.testing.assert_close(iterator["carried"], carried, rtol=0, atol=0)


def test_checkpoints_have_the_averaged_weights(trained):
    state = last(trained)
    optimizer = state["last_optimizer_state"]
    assert optimizer["param_groups"][0]["averaged_updates"] == 40
    average = optimizer["state"][0]["average"]
    assert torch.equal(state["model"]["decoder.embed_tokens.weight"], average)
    assert not torch.equal(optimizer["state"][0]["trained"], average)


def test_another_number_of_columns(train, trained, tmp_path):
    options = "--restore-file", trained / "checkpoint_last.pt", "--batch-size", "3"
    output = train(tmp_path, *options, "--max-update", "50", ok=False)
    assert "has the states of 4 columns, but --batch-size times the number" in output
    assert list(tmp_path.iterdir()) == []
    train(tmp_path, *options, "--reset-dataloader", "--max-update", "50")


@pytest.mark.parametrize("name", ["fairseq-eval-lm", "fairseq-validate"])
def test_perplexity_of_one_pass(command, root, data, trained, name):
    """At any number of columns and any length of segments."""
    path = trained / "checkpoint_last.pt"
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(path)], arg_overrides={"data": str(data)}
    )
    task.load_dataset("valid")
    tokens = task.dataset("valid").tokens
    sources = torch.cat([tokens.new_tensor([2]), tokens[:-1]])
    model.eval()
    with torch.no_grad():
        log_p = model.get_normalized_probs(model(sources.unsqueeze(0)), True)[0]
    expected = float(torch.exp(-log_p.gather(1, tokens.unsqueeze(1)).mean()))
    subset = "--gen-subset" if name == "fairseq-eval-lm" else "--valid-subset"
    word = "Perplexity: " if name == "fairseq-eval-lm" else "| ppl "
    for options in (("--batch-size", "1"), ("--batch-size", "7", "--eval-tokens-per-sample", "13")):
        output = command(
            *(name, data, "--user-dir", root / "fairseq_lrn", "--path", path, subset, "valid"),
            *("--task", "stateful_language_modeling", *options),
        )
        assert abs(float(output.split(word)[1].split()[0]) - expected) < 0.006


LOSSES = {
    "plain": ("cross_entropy", "--output-bias"),
    "smoothed": ("label_smoothed_cross_entropy", "--share-decoder-input-output-embed"),
    "adaptive": ("adaptive_loss", "--adaptive-softmax-cutoff 4,8 --ddp-backend legacy_ddp"),
    "fused": (
        "language_model_cross_entropy",
        "--adaptive-softmax-cutoff 4,8 --adaptive-softmax-factor 1 "
        "--share-decoder-input-output-embed",
    ),
    "mixture": ("language_model_cross_entropy", "--plain-layers --mixture-of-softmaxes 2"),
}


@pytest.mark.parametrize(
    "task, loss",
    [
        *(("stateful_language_modeling", loss) for loss in LOSSES),
        *(("language_modeling", loss) for loss in ("plain", "adaptive", "mixture")),
    ],
)
def test_losses_and_tasks(command, root, data, tmp_path, task, loss):
    """fairseq's losses train the model as well, in both tasks."""
    criterion, model = LOSSES[loss]
    common = [data, "--user-dir", root / "fairseq_lrn", "--task", task]
    command(
        *("fairseq-train", *common, "--arch", "lrn_lm", "--decoder-embed-dim", "16"),
        *(
            "--decoder-hidden-size",
            "16",
            *model.split(),
            "--criterion",
            criterion,
            "--optimizer",
            "adam",
        ),
        *("--lr", "0.01", "--batch-size", "4", "--tokens-per-sample", "16", "--max-update", "4"),
        *("--save-dir", tmp_path, "--required-batch-size-multiple", "1", "--num-workers", "0"),
    )
    path = tmp_path / "checkpoint_last.pt"
    output = command(
        *("fairseq-eval-lm", *common, "--path", path, "--gen-subset", "valid"),
        *("--tokens-per-sample", "16", "--required-batch-size-multiple", "1"),
    )
    assert 1.5 < float(output.split("Perplexity: ")[1].split()[0]) < 1e4


def test_generation_with_fairseqs_commands(command, root, data, trained):
    """Continuing the beginnings of lines; the task of blocks has it, whatever task trained."""
    options = [data, "--user-dir", root / "fairseq_lrn", "--task", "language_modeling"]
    options += ["--path", trained / "checkpoint_last.pt", "--beam", "2", "--max-len-b", "8"]
    output = command(
        *("fairseq-generate", *options, "--gen-subset", "valid", "--batch-size", "4"),
        *("--sample-break-mode", "eos", "--prefix-size", "1"),
        *("--required-batch-size-multiple", "1"),
    )
    assert output.count("\nH-") == 30
    output = command("fairseq-interactive", *options, input="a b\nc\n")
    found = [line.split("\t")[2] for line in output.splitlines() if line.startswith("H-")]
    assert found[0].startswith("a b") and found[1].startswith("c")


def test_two_processes_equal_one(start, data, tmp_path):
    """Each process has columns of its own; together they have the columns of one process."""
    exact = [*TRAIN, "--dropout", "0", "--weight-dropout", "0", "--save-dir"]

    def run(name, updates, *options):
        return start(
            *(tmp_path / f"{name}.log", "train", data, *exact, tmp_path / name),
            *("--max-update", updates, *options),
        )

    def run_pair(updates):
        options = ["--distributed-world-size", "2", "--distributed-no-spawn", "--batch-size", "2"]
        options += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
        options += ["--distributed-init-method", f"file://{tmp_path / f'meeting{updates}'}"]
        pair = {
            name: run(name, updates, *options, "--distributed-rank", rank)
            for rank, name in enumerate(("first", "second"))
        }
        try:
            for name, process in pair.items():
                process.join(300)
                assert process.exitcode == 0, (tmp_path / f"{name}.log").read_text()[-3000:]
        finally:
            for process in pair.values():
                process.kill()

    # The second part of the pair's run needs the carried states of both processes.
    run_pair(13)
    (tmp_path / "second").mkdir(exist_ok=True)
    (tmp_path / "second" / "checkpoint_last.pt").symlink_to(
        tmp_path / "first" / "checkpoint_last.pt"
    )
    run_pair(25)
    single = run("single", 25)
    single.join()
    log = (tmp_path / "single.log").read_text()
    assert single.exitcode == 0, log[-3000:]
    pair, alone = last(tmp_path / "first"), last(tmp_path / "single")
    torch.testing.assert_close(pair["model"], alone["model"], rtol=0, atol=1e-4)
    carried = [state["extra_state"]["train_iterator"]["carried"] for state in (pair, alone)]
    torch.testing.assert_close(*carried, rtol=0, atol=1e-3)
    perplexities = [
        (tmp_path / f"{name}.log").read_text().split("| ppl ")[-1].split()[0]
        for name in ("first", "single")
    ]
    assert abs(float(perplexities[0]) - float(perplexities[1])) < 0.02


@pytest.fixture(scope="module")
def raw(data):
    """The directory of the raw text, with a test text."""
    write_text(data.parent / "test.txt", 20, 3)
    return data.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory whose data are prepared once, by the first training run."""
    return tmp_path_factory.mktemp("runs")


# lstm, gru, sru and atr are trained as lrn is.
@pytest.mark.parametrize("model", ["lrn", "paper", "lstm_lm", "transformer_lm"])
def test_script(command, raw, runs, model):
    """scripts/ptb.sh, for each way of training; a second run reads what the first one wrote."""
    small = "--batch-size", "2", "--num-workers", "0"
    options = "--dir", runs, "--model", model, "--updates", "3", "--", *small
    output = command("bash", "scripts/ptb.sh", raw, *options)
    perplexities = re.findall(r"^(valid|test) ppl ([\d.]+)$", output, re.MULTILINE)
    assert [subset for subset, _ in perplexities] == ["valid", "test"]
    assert all(float(perplexity) > 1.5 for _, perplexity in perplexities)
    if model != "lrn":
        return
    again = command("bash", "scripts/ptb.sh", raw, *options)
    assert f"{model}, seed 1: trained already" in again
    assert re.findall(r"^(valid|test) ppl ([\d.]+)$", again, re.MULTILINE) == perplexities


def test_options_of_every_model(command, tmp_path):
    no_gpu = tmp_path / "nvidia-smi"
    no_gpu.write_text("#!/bin/sh\nexit 9\n")
    no_gpu.chmod(0o755)
    (tmp_path / "data-bin").mkdir()
    (tmp_path / "data-bin" / "dict.txt").write_text("".join(f"w{n} 1\n" for n in range(50)))
    printed = command(
        *("bash", "-c"),
        "source scripts/env.sh; directory=$0 PATH=$0:$PATH updates=40; "
        "source scripts/recipes.sh; source scripts/language_models.sh; "
        "for model in $LANGUAGE_MODELS; do "
        "set_language_model_options $model lrn_lm_ptb '--lr 10'; echo $model $recipe; done",
        tmp_path,
    )
    lines = dict(line.split(" ", 1) for line in printed.strip().splitlines())
    assert {"lrn", "paper", "lstm_lm", "transformer_lm", *CELLS} - {"olrn"} == lines.keys()
    for model, line in lines.items():
        args = parse_args_and_arch(get_training_parser(), ["data", *line.split()])
        if model != "paper":
            assert args.warmup_updates == 10  # a quarter of a short training run
        if model in CELLS:
            cell = getattr(args, "cell", "lrn")
            assert (cell, args.adaptive_softmax_cutoff) == (model, "11")
            assert (str(args.autocast) == "bfloat16") == has_bfloat16()


def test_script_of_wikitext2(command, raw, tmp_path):
    (raw / "other").mkdir()
    for name in ("train.txt", "valid.txt"):
        (raw / "other" / name).symlink_to(raw / name)
    options = "--dir", tmp_path, "--updates", "2", "--seed", "3", "--", "--batch-size", "2"
    output = command("bash", "scripts/wikitext2.sh", raw / "other", *options)
    assert re.search(r"^valid ppl [\d.]+$", output, re.MULTILINE)
    assert (tmp_path / "lrn-3" / "checkpoints" / "prepare_lm.json").is_file()
    (raw / "other" / "test.txt").symlink_to(raw / "test.txt")
    output = command("bash", "scripts/wikitext2.sh", raw / "other", *options, ok=False)
    assert "data-bin was prepared from other files" in output and "now:    test.txt " in output


def test_script_refuses(command, raw, tmp_path):
    for arguments, message in (
        ([], "give a directory with train.txt and valid.txt"),
        ([tmp_path], "train.txt is missing or empty"),
        ([raw, "--model", "abacus"], "--model must be one of lrn paper"),
        ([raw, "--updates", "0"], "--updates must be a number above 0"),
        ([raw, "--frobnicate"], "unknown option --frobnicate"),
    ):
        assert message in command("bash", "scripts/ptb.sh", *arguments, ok=False)
