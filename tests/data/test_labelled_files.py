"""Reading labelled texts, and refusing what is broken."""

import pytest

from fairseq_lrn.data.labelled_files import check_labels, label_counts, read_labelled
from fairseq_lrn.errors import InputError

SENTENCES = """\
-DOCSTART- -X- O

U.N. NNP B-ORG
official\tNN O

-DOCSTART-
New NNP B-ORG
York NNP I-ORG
Times NNP I-ORG
"""


def write(tmp_path, content):
    path = tmp_path / "train.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_texts(tmp_path):
    file = read_labelled(
        write(tmp_path, "\ufeffgood  film\tWell  done!\r\nbad\tNo.\t"[:-1]), "text"
    )
    assert file.lines == [1, 2]
    assert file.labels == [["good film"], ["bad"]]
    assert file.texts == (["Well done!", "No."],)


def test_pairs(tmp_path):
    file = read_labelled(write(tmp_path, "yes\ta b\tc\u2028d\nno\te\tf\n"), "pair")
    assert file.labels == [["yes"], ["no"]]
    assert file.texts == (["a b", "e"], ["c d", "f"])


def test_tags(tmp_path):
    file = read_labelled(write(tmp_path, SENTENCES), "tags")
    assert file.lines == [3, 7]
    assert file.labels == [["S-ORG", "O"], ["B-ORG", "I-ORG", "E-ORG"]]
    assert file.texts == (["U.N. official", "New York Times"],)


@pytest.mark.parametrize(
    "scheme, tags", [("IOB1", "I-A B-A I-A I-B O"), ("IOBES", "S-A B-A E-A S-B O")]
)
def test_tag_schemes(tmp_path, scheme, tags):
    content = "".join(f"x {tag}\n" for tag in tags.split())
    file = read_labelled(write(tmp_path, content), "tags", scheme)
    assert file.labels == [["S-A", "B-A", "E-A", "S-B", "O"]]
    with pytest.raises(InputError, match=f"line 1: .* or give --tag-scheme {scheme} if"):
        read_labelled(write(tmp_path, content), "tags")
    if scheme == "IOBES":
        with pytest.raises(InputError, match="line 1: .* or give --tag-scheme IOB2 if that is"):
            read_labelled(write(tmp_path, "x B-A\n"), "tags", scheme)
    with pytest.raises(InputError, match=rf"line 6: .* the scheme {scheme} \(.*TYPE"):
        read_labelled(write(tmp_path, content + "x NN\n"), "tags", scheme)


@pytest.mark.parametrize(
    "kind, content, message",
    [
        ("text", "a\tb\nc\n", "line 2: 1 field between tabs, but --kind text needs 2"),
        ("text", "a\tb\tc\n", "line 1: 3 fields between tabs, but --kind text needs 2 .*replace"),
        ("pair", "a\tb\n", r"line 1: 2 fields .* needs 3 \(label, text, text\)"),
        ("text", "a\tb\n\n", "line 2 is empty: remove the line"),
        ("pair", "a\tb\tc\n \t\n", "line 2 is empty: remove the line"),
        ("text", "a\tb\n \tc\n", "line 2: the label is empty: give it one"),
        ("text", "a\tb\n<pad>\tc\n", "line 2: <pad> cannot be a label"),
        ("text", "a\tb\nc\t \u2003\n", "line 2: the text has no words: remove the line"),
        ("pair", "a\tb\t\n", "line 1: the text has no words"),
        ("text", b"a\tb\na\t\xff\n", r"is not UTF-8 \(line 2\)"),
        ("text", "", "train.txt has no texts: give a file"),
        ("tags", "-DOCSTART- O\n\n", "train.txt has no texts: give a file"),
        ("tags", "a O\n\nb\n", "line 3: one column, .* add the tag"),
        ("tags", "a x O\n\nb O\n", "line 3: 2 columns, but the lines before have 3"),
        ("tags", "a O\n\nb O\nc I-PER\n", "line 4: .*IOB2.* or give --tag-scheme IOB1 if that is"),
        ("tags", "a O\nb S-PER\n", "line 2: .*IOB2.* or give --tag-scheme IOBES if that is"),
        ("tags", "a O\nb NN\n", r"line 2: .*IOB2 \(.* O for the rest\)$"),
    ],
)
def test_broken_files(tmp_path, kind, content, message):
    with pytest.raises(InputError, match=message):
        read_labelled(write(tmp_path, content), kind)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read .*train.txt"):
        read_labelled(str(tmp_path / "train.txt"), "text")


def test_labels(tmp_path):
    texts = read_labelled(write(tmp_path, "b\tx\na\tx\nb\tx\n"), "text")
    assert label_counts(texts, "text") == {"a": 1, "b": 2}
    tags = read_labelled(write(tmp_path, "x B-A-1\ny I-A-1\n\nz B-B\n"), "tags")
    # "O" and the other tags of both types do not occur, but other data may have them.
    counts = label_counts(tags, "tags")
    assert {tag for tag, count in counts.items() if count == 1} == {"B-A-1", "E-A-1", "S-B"}
    assert {tag for tag, count in counts.items() if count == 0} == {
        *("O", "I-A-1", "S-A-1", "B-B", "I-B", "E-B")
    }


def test_one_label_is_refused(tmp_path):
    file = read_labelled(write(tmp_path, "a\tx\na\ty\n"), "text")
    with pytest.raises(InputError, match="train.txt: all labels are a: give a training file"):
        label_counts(file, "text")
    for content, kinds in (("x O\n", "outside of entities"), ("x B-PER\n", "entities of type PER")):
        file = read_labelled(write(tmp_path, content), "tags")
        with pytest.raises(InputError, match=f"train.txt: all words are {kinds}: give a training"):
            label_counts(file, "tags")


def test_unknown_labels_are_refused(tmp_path):
    file = read_labelled(write(tmp_path, "a\tx\nb\ty\n"), "text")
    check_labels(file, "text", {"a", "b"}, "t.tsv")
    with pytest.raises(InputError, match="line 2: the label b does not occur in t.tsv, .*add"):
        check_labels(file, "text", {"a"}, "t.tsv")
    file = read_labelled(write(tmp_path, "x O\n\ny O\nz B-B\n"), "tags")
    with pytest.raises(InputError, match="line 4: the entity type B does not occur in t.txt"):
        check_labels(file, "tags", {"O"}, "t.txt")
