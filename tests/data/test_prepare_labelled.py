"""Preparing labelled text: words, characters, labels, and vectors, as fairseq reads them."""

import json
import os
import threading

import pytest
from fairseq.data import Dictionary, data_utils, indexed_dataset
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from fairseq_lrn.data.labelled_files import read_labelled
from fairseq_lrn.data.labelled_options import LabelledOptions
from fairseq_lrn.data.labelled_text import LabelledText
from fairseq_lrn.data.prepare_labelled import check_sizes, prepare_labelled
from fairseq_lrn.errors import InputError

TEXTS = {
    "train": "good\tThe cat sat.\nbad\tthe Dog <pad> sat, the cat did\ngood\ta\n" * 3,
    "valid": "bad\ta zebra met the Yak\ngood\tThe cat\n",
    "test": "bad\tno\n",
}
PAIRS = {
    "train": "yes\tthe cat\ta cat sat\nno\ta dog\tthe\n",
    "valid": "no\tthe dog\ta zebra\n",
}
TAGS = {
    "train": "-DOCSTART- O\n\nJohn B-PER\nSmith I-PER\nmet O\nMary B-PER\n\nHe O\n",
    "valid": "EU B-PER\nleft O\nJohn B-PER\nvan I-PER\nDamme I-PER\n",
}
VECTORS = {"the": [1.0, 2.0], "cat": [3.0, -4.0], "zebra": [0.5, 0.25], "Yak": [5.0, 6.0]}
VECTORS.update({"yak": [7.0, 8.0], "far": [9.0, 9.5], "Far": [0.0, 1.0]})


@pytest.fixture
def make(tmp_path):
    """A function that writes files and prepares them."""

    def make(contents, kind, name="data", **options):
        for split, content in contents.items():
            path = tmp_path / f"{split}.txt"
            path.write_text(content)
            options.setdefault(f"{split}pref", str(path))
        lines = (" ".join([word, *map(str, vector)]) for word, vector in VECTORS.items())
        (tmp_path / "vectors.txt").write_text("".join(f"{line}\n" for line in lines))
        directory = tmp_path / name
        prepare_labelled(LabelledOptions(kind=kind, destdir=str(directory), **options))
        return directory

    return make


def symbols(directory, name, split, dictionary=None):
    """The symbols of each text."""
    names = Dictionary.load(str(directory / (dictionary or name) / "dict.txt"))
    path = str(directory / name / split)
    assert indexed_dataset.infer_dataset_impl(path) == "mmap"
    lines = data_utils.load_indexed_dataset(path, names)
    return [[names[token] for token in lines[index]] for index in range(len(lines))]


def spelled(words):
    return [character for word in words for character in [*word, "</s>"]]


def task_of(directory, num_classes):
    cfg = SentencePredictionConfig(data=str(directory), num_classes=num_classes)
    cfg.regression_target, cfg.seed = False, 1
    return SentencePredictionTask.setup_task(cfg)


def batch(task, split):
    """All samples of a split in one batch, in their order."""
    task.load_dataset(split)
    dataset = task.dataset(split)
    samples = [dataset[index] for index in range(len(dataset))]
    return dataset.collater(sorted(samples, key=lambda sample: sample["id"]))


def test_texts(make):
    directory = make(TEXTS, "text", workers=2)
    words = [line.split("\t")[1].split() for line in TEXTS["train"].splitlines()]
    known = {"<pad>": "<unk>"}
    assert symbols(directory, "input0", "train") == [
        [*(known.get(word, word) for word in text), "</s>"] for text in words
    ]
    assert symbols(directory, "characters0", "train", "characters") == list(map(spelled, words))
    labels = [[line.split("\t")[0], "</s>"] for line in TEXTS["train"].splitlines()]
    assert symbols(directory, "label", "train") == labels
    # Words and characters of other splits alone are unknown.
    assert symbols(directory, "input0", "valid") == [
        ["a", "<unk>", "<unk>", "the", "<unk>", "</s>"],
        ["The", "cat", "</s>"],
    ]
    (first, _) = symbols(directory, "characters0", "valid", "characters")
    assert "".join(first) == "a</s><unk>e<unk><unk>a</s><unk>et</s>the</s><unk>a<unk></s>"
    assert symbols(directory, "label", "test") == [["bad", "</s>"]]
    for name in ("input0", "label", "characters"):
        dictionary = Dictionary.load(str(directory / name / "dict.txt"))
        assert not any(symbol.startswith("madeup") for symbol in dictionary.symbols)
        assert dictionary.count[4:] == sorted(dictionary.count[4:], reverse=True)
    record = json.loads((directory / "prepare_labelled.json").read_text())
    assert record["kind"] == "text" and record["language"] is None
    assert not (directory / "vectors.txt").exists() and not (directory / "input1").exists()


def test_fairseq_reads_texts(make):
    task = task_of(make(TEXTS, "text"), 2)
    found = batch(task, "train")
    assert found["target"].view(-1).tolist() == 3 * [0, 1, 0]  # good, bad, good
    words = found["net_input"]["src_tokens"][0]
    assert task.dictionary.string(words, extra_symbols_to_ignore={1}) == "The cat sat."
    assert found["net_input"]["src_lengths"].tolist() == 3 * [4, 8, 2]


def test_fairseq_reads_pairs(make):
    directory = make(PAIRS, "pair")
    found = batch(task_of(directory, 2), "train")
    assert found["net_input"]["src_lengths"].tolist() == [3 + 4, 3 + 2]
    assert sorted(found["target"].view(-1).tolist()) == [0, 1]
    assert symbols(directory, "input1", "train") == [["a", "cat", "sat", "</s>"], ["the", "</s>"]]
    dictionaries = [(directory / f"input{side}" / "dict.txt").read_text() for side in (0, 1)]
    assert dictionaries[0] == dictionaries[1]
    expected = [spelled(["a", "cat", "sat"]), spelled(["the"])]
    assert symbols(directory, "characters1", "train", "characters") == expected


def test_tags(make):
    directory = make(TAGS, "tags", characters=False)
    assert symbols(directory, "input0", "train")[0] == ["John", "Smith", "met", "Mary", "</s>"]
    assert symbols(directory, "label", "train") == [
        ["B-PER", "E-PER", "O", "S-PER", "</s>"],
        ["O", "</s>"],
    ]
    # I-PER occurs in the validation data alone.
    assert symbols(directory, "label", "valid") == [
        ["S-PER", "O", "B-PER", "I-PER", "E-PER", "</s>"]
    ]
    labels = Dictionary.load(str(directory / "label" / "dict.txt"))
    tags = ["B-PER", "E-PER", "I-PER", "O", "S-PER"]
    assert sorted(labels.symbols[labels.nspecial :]) == tags
    assert LabelledText(str(directory)).language == "en"
    assert not list(directory.glob("characters*"))


def test_lower_case_keeps_the_case_of_characters(make):
    directory = make(TEXTS, "text", lowercase=True)
    assert symbols(directory, "input0", "train")[0] == ["the", "cat", "sat.", "</s>"]
    first = symbols(directory, "characters0", "train", "characters")[0]
    assert first == spelled(["The", "cat", "sat."])


def test_moses(make):
    directory = make(TEXTS, "text", tokenizer="moses", language="en-GB")
    assert symbols(directory, "input0", "train")[0] == ["The", "cat", "sat", ".", "</s>"]
    text = LabelledText(str(directory))
    assert text.language == "en" and text.words("The cat sat.") == ["The", "cat", "sat", "."]


def test_several_processes_keep_the_order(make):
    lines = [f"{'good' if number % 3 else 'bad'}\tw{number} x, y" for number in range(450)]
    contents = {"train": "".join(f"{line}\n" for line in lines)}
    directory = make(contents, "text", tokenizer="moses", workers=2)
    words = [[f"w{number}", "x", ",", "y"] for number in range(450)]
    assert symbols(directory, "input0", "train") == [[*text, "</s>"] for text in words]
    assert symbols(directory, "characters0", "train", "characters") == list(map(spelled, words))
    labels = [["good" if number % 3 else "bad", "</s>"] for number in range(450)]
    assert symbols(directory, "label", "train") == labels


def test_subwords(make):
    directory = make(TEXTS, "text", tokenizer="sentencepiece", vocab_size=30, lowercase=True)
    text = LabelledText(str(directory))
    raw = [line.split("\t")[1] for line in TEXTS["train"].splitlines()]
    found = symbols(directory, "input0", "train")
    assert found == [[*map(text.lookup, text.words(line)), "</s>"] for line in raw]
    joined = ["".join(line[:-1]).replace("\u2581", " ").strip() for line in found]
    assert joined == [line.lower() for line in raw]
    assert sum(map(len, found)) > sum(len(line.split()) + 1 for line in raw)
    characters = symbols(directory, "characters0", "train", "characters")
    assert characters == [spelled(line[:-1]) for line in found]
    assert not (directory / "text").exists()


def test_long_texts_are_in_the_bpe(make):
    """sentencepiece leaves out lines of more than 4192 bytes."""
    contents = {"train": "a\t" + 2000 * "xyzzy " + "\nb\tshort text\n"}
    directory = make(contents, "text", tokenizer="sentencepiece", vocab_size=20)
    assert LabelledText(str(directory)).words("xyzzy") == ["\u2581xyzzy"]


def test_threshold(make):
    # They occur 6 times in the training texts, the others 3 times.
    dictionary = Dictionary.load(str(make(TEXTS, "text", threshold=6) / "input0" / "dict.txt"))
    assert dictionary.symbols[4:] == ["cat", "the"] and dictionary.count[4:] == [6, 6]


def vectors_of(directory):
    lines = [line.split() for line in (directory / "vectors.txt").read_text().splitlines()]
    return {word: list(map(float, vector)) for word, *vector in lines if vector[1:]}


def test_vectors(make, tmp_path):
    vectors = str(tmp_path / "vectors.txt")
    directory = make(TEXTS, "text", vectors=vectors, threshold=3)
    # "The" gets the vector of "the"; "zebra" and "Yak" are in the validation texts alone.
    expected = {word: VECTORS[word] for word in ("the", "cat", "zebra", "Yak")}
    expected["The"] = VECTORS["the"]
    assert vectors_of(directory) == expected
    dictionary = Dictionary.load(str(directory / "input0" / "dict.txt"))
    assert set(expected) < set(dictionary.symbols) and "met" not in dictionary
    assert symbols(directory, "input0", "valid")[0][:3] == ["a", "zebra", "<unk>"]
    rare = make(TEXTS, "text", "rare", vectors=vectors, threshold=100)
    assert set(Dictionary.load(str(rare / "input0" / "dict.txt")).symbols[4:]) == set(expected)


def test_all_vectors(make, tmp_path):
    vectors = str(tmp_path / "vectors.txt")
    directory = make(TEXTS, "text", vectors=vectors, all_vectors=True)
    assert vectors_of(directory) == {**VECTORS, "The": VECTORS["the"]}
    # No lower-cased text has the words "Far" and "Yak".
    directory = make(TEXTS, "text", "lower", vectors=vectors, all_vectors=True, lowercase=True)
    expected = {word: vector for word, vector in VECTORS.items() if word.islower()}
    assert vectors_of(directory) == expected


def test_vectors_from_a_pipe(make, tmp_path):
    """As in ``--vectors <(zcat FILE)``: it can be read only once."""
    source, target = os.pipe()
    with os.fdopen(source), os.fdopen(target, "w") as writer:
        writer.write("the 1.0 2.0\n")
        writer.close()
        directory = make(TEXTS, "text", vectors=f"/dev/fd/{source}")
    assert vectors_of(directory)["the"] == VECTORS["the"]
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_text, args=["the 1.0 2.0\n"])
    thread.start()
    directory = make(TEXTS, "text", "other", vectors=str(tmp_path / "pipe"))
    thread.join()
    assert vectors_of(directory)["the"] == VECTORS["the"]


def test_report(make, tmp_path, caplog):
    caplog.set_level("INFO")
    make(TEXTS, "text", vectors=str(tmp_path / "vectors.txt"), threshold=3)
    messages = [record.getMessage() for record in caplog.records]
    # 8 words of the training texts without "<pad>", and 2 of the validation texts.
    assert "dictionary: 10 words, 5 of them with a vector" in messages
    # Of "a zebra met the Yak The cat", "met" is unknown.
    assert {"valid: 2 texts", "valid: 7 words, 14.29% of them unknown"} < set(messages)
    assert {"test: 1 texts", "test: 1 words, 100.00% of them unknown"} < set(messages)


@pytest.mark.parametrize("name", ["label", "characters0", "input0"])
def test_data_that_do_not_belong_together(make, tmp_path, name):
    """The check of the sizes finds files of other data."""
    directory = make(TEXTS, "text")
    file = read_labelled(str(tmp_path / "train.txt"), "text")
    options = LabelledOptions("text", "", "")
    check_sizes(str(directory), {"train": file}, options)
    for suffix in ("bin", "idx"):
        source = directory / name / f"valid.{suffix}"
        (directory / name / f"train.{suffix}").write_bytes(source.read_bytes())
    with pytest.raises(RuntimeError, match="words, characters and labels of train do not belong"):
        check_sizes(str(directory), {"train": file}, options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threshold": 0}, "--threshold must be at least 1, not 0"),
        ({"vectors": ""}, "--vectors has an empty name: give a file"),
        ({"tokenizer": "sentencepiece", "vocab_size": 5000}, "cannot make 5000 subwords"),
    ],
)
def test_bad_options(make, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        make(TEXTS, "text", **options)
    assert not list(tmp_path.glob("data*"))


def test_text_that_moses_leaves_nothing_of(make):
    contents = {"train": "a\tx\nb\t\x01\n"}
    with pytest.raises(InputError, match="train.txt, line 2: the text has no words"):
        make(contents, "text", tokenizer="moses")


def test_files_that_cannot_be_used(make, tmp_path):
    with pytest.raises(InputError, match="valid.txt, line 1: the label ugly does not occur in .*"):
        make({**TEXTS, "valid": "ugly\tx\n"}, "text")
    with pytest.raises(InputError, match="cannot read .*no.txt"):
        make(TEXTS, "text", trainpref=str(tmp_path / "no.txt"))
    (tmp_path / "other.txt").write_text("w\u00e4lder 1 2\n")
    with pytest.raises(InputError, match="other.txt has no vector for any word of the texts"):
        make(TEXTS, "text", vectors=str(tmp_path / "other.txt"))
    with pytest.raises(InputError, match="cannot read --vectors .*none.txt: No such file"):
        make(TEXTS, "text", vectors=str(tmp_path / "none.txt"))
    bad = {**TEXTS, "train": "one label\n"}  # texts are read later
    with pytest.raises(InputError, match=f"cannot read --vectors {tmp_path}: Is a directory"):
        make(bad, "text", vectors=str(tmp_path))
    assert not list(tmp_path.glob("data*"))
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="data exists already"):
        make(TEXTS, "text")
