"""fairseq's own commands with the model of the quick start."""

import re
import shutil

import pytest
import torch

LINES = 60


@pytest.fixture(scope="module")
def data(quickstart, command, tmp_path_factory):
    """The first sentences of the test set, prepared with the vocabulary of the training set."""
    directory = tmp_path_factory.mktemp("few")
    for lang in ("en", "de"):
        lines = (quickstart[0] / "raw" / f"test.{lang}").read_text().splitlines(keepends=True)
        (directory / f"few.{lang}").write_text("".join(lines[:LINES]))
    arguments = ["--source-lang", "en", "--target-lang", "de", "--testpref", directory / "few"]
    arguments += ["--vocab-from", quickstart[0] / "data-bin", "--destdir", directory / "data-bin"]
    command("fairseq-lrn", "prepare", *arguments)
    return directory / "data-bin"


@pytest.fixture(scope="module")
def checkpoint(quickstart):
    return quickstart[0] / "checkpoints" / "checkpoint_best.pt"


@pytest.fixture(scope="module")
def generate(fairseq, data, checkpoint, hypotheses_of):
    def generate(*arguments, path=checkpoint):
        options = ["--path", path, "--required-batch-size-multiple", "1", *arguments]
        if "--batch-size" not in arguments:
            options += ["--batch-size", "32"]
        output = fairseq("generate", data, *options)
        return hypotheses_of(output), output

    return generate


@pytest.mark.parametrize("beam", [1, 5])
def test_generate_at_any_batch_size_and_padding(generate, beam):
    expected, _ = generate("--beam", beam, "--batch-size", "64")
    assert len(expected) == LINES
    assert generate("--beam", beam, "--batch-size", "1")[0] == expected
    # The flag --left-pad-source turns left padding off.
    right_padded = ("--beam", beam, "--batch-size", "7", "--left-pad-source")
    assert generate(*right_padded)[0] == expected


def test_generate_with_an_ensemble(generate, checkpoint):
    """Twice the same model gives the translations of the model."""
    expected, _ = generate("--beam", "2")
    assert generate("--beam", "2", path=f"{checkpoint}:{checkpoint}")[0] == expected


def test_print_alignment(generate, data):
    _, output = generate("--beam", "1", "--print-alignment")
    source = {
        int(number): words.split()
        for number, words in re.findall(r"^S-(\d+)\t(.*)$", output, re.MULTILINE)
    }
    alignments = re.findall(r"^A-(\d+)\t(.*)$", output, re.MULTILINE)
    assert len(alignments) == LINES
    for number, alignment in alignments:
        positions = [int(pair.split("-")[0]) for pair in alignment.split()]
        # Positions of words in the source text, regardless of padding.
        assert max(positions) <= len(source[int(number)])
        assert len(set(positions)) > len(positions) / 3


def test_interactive_agrees_with_generate(fairseq, generate, data, checkpoint, hypotheses_of):
    expected, _ = generate("--beam", "5", "--remove-bpe", "sentencepiece")
    text = (data / "text" / "test.bpe.en").read_text()
    arguments = ["--path", checkpoint, "--beam", "5", "--remove-bpe", "sentencepiece"]
    arguments += ["--source-lang", "en", "--target-lang", "de"]
    output = fairseq(
        "interactive", data, *arguments, "--buffer-size", "16", "--batch-size", "16", input=text
    )
    assert hypotheses_of(output) == expected


def test_resume_validate_average(command, fairseq, quickstart, generate, tmp_path):
    data, checkpoints = quickstart[0] / "data-bin", tmp_path / "checkpoints"
    checkpoints.mkdir()
    shutil.copy(quickstart[0] / "checkpoints" / "checkpoint_last.pt", checkpoints)
    arguments = ["--arch", "lrn_tiny", "--share-all-embeddings"]
    arguments += ["--optimizer", "torch_adam"]
    arguments += ["--adam-betas", "(0.9, 0.98)", "--lr", "0.005", "--warmup-updates", "100"]
    arguments += ["--lr-scheduler", "inverse_sqrt", "--clip-norm", "1.0", "--max-tokens", "4096"]
    arguments += ["--label-smoothing", "0.1"]
    arguments += ["--criterion", "fused_label_smoothed_cross_entropy"]
    arguments += ["--log-format", "simple", "--save-dir", checkpoints]
    output = fairseq("train", data, *arguments, "--max-epoch", "7")
    resumed = re.search(r"Loaded checkpoint .*checkpoint_last.pt \(epoch (\d+) @ (\d+)", output)
    assert int(resumed.group(1)) == 6 and int(resumed.group(2)) == 440
    losses = re.findall(r"epoch (\d+) \| valid on 'valid' subset \| loss ([\d.]+)", output)
    assert [epoch for epoch, _ in losses] == ["006", "007"]
    assert all(float(loss) < 1.6 for _, loss in losses)

    arguments = ["--path", checkpoints / "checkpoint7.pt", "--task", "translation"]
    validated = fairseq("validate", data, *arguments, "--max-tokens", "4096")
    # The batches are the same as in training, so the loss equals the logged loss.
    assert f" loss {losses[-1][1]} " in validated

    averaged = checkpoints / "averaged.pt"
    command(
        "fairseq-lrn", "average", "--inputs", checkpoints,
        "--num-epoch-checkpoints", "2", "--output", averaged,
    )  # fmt: skip
    models = [
        torch.load(checkpoints / name, weights_only=True)["model"]
        for name in ("checkpoint6.pt", "checkpoint7.pt", "averaged.pt")
    ]
    for name, mean in models[2].items():
        both = models[0][name] + models[1][name]
        # The checksums of dictionaries are whole numbers, and equal.
        torch.testing.assert_close(mean, both / 2 if mean.is_floating_point() else both // 2)
    translations, output = generate("--beam", "5", path=averaged)
    assert len(translations) == LINES
    assert float(re.search(r"BLEU4 = ([\d.]+)", output).group(1)) > 95


def test_training_with_bleu(command, fairseq, quickstart, tmp_path):
    """With --eval-bleu, a checkpoint has more entries; training resumes from it, too."""
    data, checkpoints = quickstart[0] / "data-bin", tmp_path / "checkpoints"
    arguments = ["--arch", "lrn_tiny", "--optimizer", "adam", "--lr", "0.001"]
    arguments += ["--max-tokens", "4096", "--eval-bleu", "--eval-bleu-remove-bpe", "sentencepiece"]
    arguments += ["--eval-bleu-args", '{"beam": 1, "max_len_b": 20}']
    arguments += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    arguments += ["--save-dir", checkpoints, "--log-format", "simple"]
    fairseq("train", data, *arguments, "--max-update", "3")
    output = fairseq("train", data, *arguments, "--max-update", "6")
    assert "Loaded checkpoint" in output and "num_updates 6" in output
    command("python", "scripts/check_checkpoint.py", checkpoints / "checkpoint_last.pt")


def test_score(command, quickstart, tmp_path):
    generated, reference = tmp_path / "generated", quickstart[0] / "raw" / "test.de"
    shutil.copy(quickstart[0] / "generate-test.txt", generated)
    output = command("fairseq-lrn", "score", generated, reference)
    for expected in ("Generate test with beam=5: BLEU4", "BLEU|nrefs:1|", "chrF2|nrefs:1|"):
        assert expected in output
    lowered = command("fairseq-lrn", "score", generated, reference, "de", "-lc")
    assert lowered.count("case:lc") == 2
    command("fairseq-lrn", "score", generated, quickstart[0] / "raw" / "train.de", ok=False)


def test_from_pretrained(quickstart, generate, hypotheses_of):
    from fairseq_lrn import LRNModel

    data = quickstart[0] / "data-bin"
    model = LRNModel.from_pretrained(
        str(quickstart[0] / "checkpoints"),
        checkpoint_file="checkpoint_best.pt",
        data_name_or_path=str(data),
        bpe="sentencepiece",
        sentencepiece_model=str(data / "sentencepiece.bpe.model"),
    )
    expected, _ = generate("--beam", "5", "--remove-bpe", "sentencepiece")
    source = (data / "text" / "test.tok.en").read_text().splitlines()[:3]
    assert model.translate(source, beam=5) == [expected[n] for n in range(3)]


def test_checkpoint_holds_plain_types(untrained):
    """torch loads the checkpoint with weights_only, without any allow-listed type.

    After training with --eval-bleu, fairseq adds arrays of n-gram counts, which compat allows.
    """
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        state = torch.load(untrained / "checkpoint_best.pt", weights_only=True)
    finally:
        torch.serialization.add_safe_globals(allowed)
    config = state["cfg"]["model"]
    assert (config["_name"], config["activation_fn"]) == ("lrn_tiny", "tanh")
