"""Classifiers, taggers and readers with fairseq's commands, and the scripts of the corpora."""

import json
import re

import pytest
import torch

from fairseq_lrn import checkpoints, load_classifier, load_reader, load_tagger
from fairseq_lrn.errors import InputError
from labelled_corpus import (
    PAIRS,
    REVIEWS,
    TAGGED,
    pairs,
    questions,
    reviews,
    tagged,
    write_spans,
)

SMALL = "--word-embed-dim 8 --hidden-size 6 --character-embed-dim 4".split()
TRAIN = [
    *("--optimizer", "adam", "--lr", "0.01", "--no-epoch-checkpoints", "--num-workers", "0"),
    *("--max-update", "6", "--batch-size", "2", "--cpu"),
]


@pytest.fixture(scope="module")
def train(command, root):
    """A function that trains in a directory, on one thread."""

    def train(data, directory, *options, **kwargs):
        return command(
            *("env", "OMP_NUM_THREADS=1", "fairseq-train", data, "--save-dir", directory),
            *("--user-dir", root / "fairseq_lrn", *TRAIN, *options),
            **kwargs,
        )

    return train


@pytest.mark.parametrize("characters", ["none", "rnn"])
def test_classifier(command, train, root, tmp_path, characters):
    data = reviews(tmp_path)
    options = "--task text_classification --criterion sentence_prediction".split()
    model = "--arch", "lrn_classifier", "--character-encoder", characters, *SMALL
    train(data, tmp_path / "run", *options, *model)
    found = command(
        *("fairseq-validate", data, "--user-dir", root / "fairseq_lrn", "--cpu"),
        *(*options[:2], "--path", tmp_path / "run" / "checkpoint_best.pt", "--batch-size", "2"),
    )
    assert re.search(r"accuracy (0|50|100)\b", found)
    assert load_classifier(tmp_path / "run", device="cpu")("dull").label in ("good", "bad")


def test_pair_classifier(train, tmp_path):
    data = pairs(tmp_path)
    options = "--task text_classification --criterion sentence_prediction".split()
    train(data, tmp_path / "run", *options, "--arch", "lrn_pair_classifier", *SMALL)
    found = load_classifier(tmp_path / "run", device="cpu")(("a dog", "a cat"))
    assert found.label in ("same", "other")


def test_fairseqs_own_task(train, tmp_path):
    """lrn_classifier without characters, and fairseq's task, on the same data."""
    data = reviews(tmp_path)
    options = "--task sentence_prediction --num-classes 2 --criterion sentence_prediction".split()
    options += ["--required-batch-size-multiple", "1"]
    output = train(data, tmp_path / "run", *options, "--arch", "lrn_classifier", *SMALL)
    assert "accuracy" in output
    refused = train(
        *(data, tmp_path / "other", *options, "--arch", "lrn_classifier", *SMALL),
        *("--character-encoder", "max"),
        ok=False,
    )
    assert "--character-encoder max needs characters" in refused


def test_dictionaries_of_the_same_size(train, tmp_path):
    """Data with the labels in another order are not taken for those of the model."""
    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    data, other = map(reviews, directories)
    labels = (other / "label" / "dict.txt").read_text().splitlines()
    (other / "label" / "dict.txt").write_text("\n".join(labels[::-1]) + "\n")
    options = "--task text_classification --criterion sentence_prediction".split()
    options += ["--arch", "lrn_classifier", *SMALL]
    train(data, tmp_path / "run", *options)
    message = "another label dictionary than the data, with as many entries: give the data that"
    resumed = train(other, tmp_path / "run", *options, "--max-update", "9", ok=False)
    assert f"checkpoint_last.pt: the checkpoint has {message}" in resumed
    with pytest.raises(InputError, match="second.* does not have the data of .*checkpoint_best"):
        load_classifier(tmp_path / "run", data=other, device="cpu")


RESUMED = {
    "sequence_tagging": (tagged, "lrn_tagger"),
    "span_prediction": (questions, "lrn_reader"),
}


@pytest.mark.parametrize("task", RESUMED)
def test_a_training_run_resumes(train, tmp_path, task):
    """An interrupted run continues as the uninterrupted one, bit for bit."""
    prepare, arch = RESUMED[task]
    data = prepare(tmp_path)
    options = f"--task {task} --criterion {task} --dropout 0.3".split()
    model = "--arch", arch, *SMALL, "--character-hidden-size", "4"
    train(data, tmp_path / "whole", *options, *model)
    train(data, tmp_path / "parts", *options, *model, "--max-update", "2")
    train(data, tmp_path / "parts", *options, *model)
    whole, parts = (
        checkpoints.load(str(tmp_path / name / "checkpoint_last.pt"))["model"]
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    if task == "sequence_tagging":
        assert load_tagger(tmp_path / "whole", device="cpu")("Ada runs").words == ["Ada", "runs"]
    else:
        assert load_reader(tmp_path / "whole", device="cpu")("Who?", "Ada").text == "Ada"


@pytest.fixture
def raw(tmp_path):
    """Raw texts of all kinds, with a test file and vectors of width 100."""

    def write(kind):
        directory = tmp_path / "raw"
        directory.mkdir()
        suffix = "txt" if kind == "conll2003" else "tsv"
        texts = {"conll2003": TAGGED, "imdb": REVIEWS, "snli": PAIRS}[kind]
        for split in ("train", "valid", "test"):
            part = texts["valid" if split == "test" else split]
            text = part if isinstance(part, str) else "\n".join(part) + "\n"
            (directory / f"{split}.{suffix}").write_text(text)
        words = {"a", "dog", "fine", "dull", "runs", "in"}
        (directory / "glove.100d.txt").write_text(
            "".join(f"{word}{100 * ' 0.5'}\n" for word in sorted(words))
        )
        return directory

    return write


@pytest.mark.parametrize(
    "script, metric",
    [("imdb.sh", "accuracy"), ("snli.sh", "accuracy"), ("conll2003.sh", "f1")],
)
def test_script(command, raw, tmp_path, script, metric):
    """A second run reads what the first one wrote, unless the data were prepared again."""
    directory = raw(script.removesuffix(".sh"))
    options = ["--dir", tmp_path / "runs", "--model", "gru", "--updates", "3", "--seed", "2"]
    if script == "conll2003.sh":  # the scheme of the shared task's files
        for file in directory.glob("*.txt"):
            file.write_text(file.read_text().replace(" B-", " I-"))
        options += ["--tag-scheme", "IOB1"]
    run = ["bash", f"scripts/{script}", directory, *options, "--", "--num-workers", "0"]
    output = command(*run)
    found = re.findall(rf"^(valid|test) {metric} ([\d.]+)$", output, re.MULTILINE)
    assert [subset for subset, _ in found] == ["valid", "test"]
    assert all(0 <= float(value) <= 100 for _, value in found)
    # The recipe's warm-up is longer than this training run.
    assert "'warmup_updates': 1," in (tmp_path / "runs" / "gru-2" / "train.log").read_text()
    if script == "imdb.sh":
        again = command(*run)
        assert "gru, seed 2: trained already" in again
        assert re.findall(rf"^(valid|test) {metric} ([\d.]+)$", again, re.MULTILINE) == found
        (tmp_path / "runs" / "data" / "vectors.txt").write_text("")
        again = command(*run, ok=False)
        assert "gru-2 was trained with other options or data" in again


def test_other_files(command, raw, tmp_path):
    """Data that were prepared from other files than those of a later run."""
    directory = raw("imdb")
    test = (directory / "test.tsv").rename(tmp_path / "test.tsv")
    run = ["bash", "scripts/imdb.sh", directory, "--dir", tmp_path / "runs", "--updates", "2"]
    command(*run)
    test.rename(directory / "test.tsv")
    message = command(*run, ok=False)
    assert "runs/data was prepared from other files" in message and "now:    test.tsv " in message
    (directory / "test.tsv").unlink()
    other = tmp_path / "other.txt"
    other.write_bytes((directory / "glove.100d.txt").read_bytes().replace(b"0.5", b"0.4"))
    message = command(*run, "--vectors", other, ok=False)
    assert re.search(r"before: glove.100d.txt .*\n.*now:    other.txt ", message, re.DOTALL)
    (directory / "second.100d.txt").write_bytes(other.read_bytes())
    assert "has several files of word vectors" in command(*run, ok=False)


def test_script_refuses(command, raw, tmp_path):
    directory = raw("imdb")
    (directory / "glove.100d.txt").unlink()
    for arguments, message in (
        ([], "give a directory with train.tsv and valid.tsv: bash scripts/imdb.sh RAW_DIR"),
        ([tmp_path], "train.tsv is missing or empty"),
        ([directory], "there are no word vectors"),
        ([directory, "--vectors", "absent"], "absent is missing or empty"),
        ([directory, "--model", "abacus"], "--model must be one of lrn olrn"),
    ):
        assert message in command("bash", "scripts/imdb.sh", *arguments, ok=False)


def unit(number):
    """A vector that is 1 at one place."""
    return [int(place == number) for place in range(100)]


def test_squad_script(command, tmp_path):
    """The model learns, a second run reads what the first one wrote, and other files are scored."""
    write_spans(str(tmp_path))
    valid = (tmp_path / "valid.json").read_text()
    (tmp_path / "test.json").write_text(valid.replace("valid", "test"))
    words = "lives in Where does live".lower().split()
    vectors = [f"{word} {' '.join(map(str, unit(number)))}\n" for number, word in enumerate(words)]
    (tmp_path / "glove.100d.txt").write_text("".join(vectors))
    run = ["bash", "scripts/squad.sh", tmp_path, "--dir", tmp_path / "runs", "--updates", "60"]
    further = ["--", "--num-workers", "0", "--lr", "0.01", "--warmup-updates", "5"]
    further += ["--hidden-size", "24", "--attention-size", "24", "--validate-interval", "10"]
    output = command(*run, *further)
    pattern = r"^(\S+) em ([\d.]+) f1 ([\d.]+)$"
    found = re.findall(pattern, output, re.MULTILINE)
    assert [name for name, _, _ in found] == ["valid", "test"] and found[0][1:] == found[1][1:]
    assert float(found[0][2]) > 60  # about 33 by chance
    answers = json.loads((tmp_path / "runs" / "lrn-1" / "answers-valid.json").read_text())
    assert len(answers) == 12
    again = command(*run, "--evaluate", tmp_path / "valid.json", *further)
    assert "trained already" in again
    assert re.findall(pattern, again, re.MULTILINE) == [(f"{tmp_path}/valid.json", *found[0][1:])]
    assert (tmp_path / "runs" / "lrn-1" / "answers-evaluate-valid.json").is_file()
    asked = json.loads(valid)
    for paragraph in asked["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            del question["answers"]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    refused = command(*run, "--evaluate", tmp_path / "asked.json", *further, ok=False)
    assert "asked.json has no right answers to compare with" in refused
    refused = command(*run, "--evaluate", tmp_path / "none.json", *further, ok=False)
    assert "none.json is missing or empty" in refused
