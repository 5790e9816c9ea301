"""Files of word vectors: formats, tokens with spaces, and what is refused."""

import gzip
import os
import threading

import numpy as np
import pytest

from fairseq_lrn.errors import InputError
from fairseq_lrn.word_vectors import read_word_vectors, write_word_vectors

GLOVE = "the 1 2 3\n. . . 4 5 6\nat 3 -1e-3 2.5 0\n"

# Without the time, which would be part of the names of tests, and differ from process to process.
COMPRESSED = gzip.compress(b"a 1 2\n" * 99, mtime=0)


def write(tmp_path, content, name="vectors.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("header", ["", "3 3\n"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_formats(tmp_path, is_gzip, header, end):
    content = (header + GLOVE).replace("\n", end).encode()
    path = write(tmp_path, gzip.compress(content) if is_gzip else content, "any.name")
    words, vectors = read_word_vectors(path)
    assert words == ["the", ". . .", "at 3"]  # tokens may look like numbers
    expected = [[1, 2, 3], [4, 5, 6], [-0.001, 2.5, 0]]
    np.testing.assert_array_equal(vectors, np.array(expected, dtype=np.float32))
    assert vectors.dtype == np.float32


def test_byte_order_mark(tmp_path):
    for header in ("", "3 3\n"):
        words, _ = read_word_vectors(write(tmp_path, ("\ufeff" + header + GLOVE).encode()))
        assert words == ["the", ". . .", "at 3"]


def test_some_words(tmp_path):
    path = write(tmp_path, "a 1 2\nb x 3\nb 4 5\nc 6 7\na 8 9\n".replace("b x 3\n", ""))
    words, vectors = read_word_vectors(path, {"c", "a"})
    assert words == ["a", "c"] and vectors.tolist() == [[1, 2], [6, 7]]  # the first a counts
    words, vectors = read_word_vectors(path, set())
    assert words == [] and vectors.shape == (0, 2)


def test_only_line_feeds_end_lines(tmp_path):
    words, _ = read_word_vectors(write(tmp_path, "a\u2028b 1 2\nc\u00a0d 3 4\n"))
    assert words == ["a\u2028b", "c\u00a0d"]


def test_numbers_as_words(tmp_path):
    assert read_word_vectors(write(tmp_path, "2 1\n7 1\n8 2\n"))[0] == ["7", "8"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is empty: give a file of word vectors"),
        ("a 1 2\nb 3\n", "line 2: expected a word and the 2 numbers"),
        ("a 1 2\nb 3 x\n", "line 2: expected a word"),
        ("a 1 nan\nb 3 4\n", "line 1: the vector has nan or inf"),
        ("a 1 2\nb 3 inf\n", "line 2: the vector has nan or inf"),
        ("a\n", "line 1: expected a word and the numbers of its vector"),
        ("3 2\na 1 2\nb 3 4\n", "has 2 vectors, but its first line says 3: the file is incomplete"),
        ("1 2\na 1 2\nb 3 4\n", "has 2 vectors, but its first line says 1"),
        ("2 3\na 1 2\nb 3 4\n", "line 2: expected a word and the 3 numbers"),
        ("2 2\na 1 2 3\nb 3 4 5\n", "has vectors of width 3, but its first line says 2: correct"),
        ("a 1 2\nb 3 1e50\n", "line 2: the vector has nan or inf"),  # too large for float32
        ("a 1 2\n\n", "line 2: expected a word"),
        ("a  1  2\nb  3  4\n", "line 1: expected a word .* by single spaces"),
        (b"1 2\nthe " + np.zeros(2, np.float32).tobytes(), r"not UTF-8 \(line 2\).*text format"),
        (COMPRESSED[:20] + b"garbage" * 9, "cannot read"),
        (b"a 1 2\nb\xff 3 4\n", r"is not UTF-8 \(line 2\).*binary"),
        (COMPRESSED[:-9], "cannot read"),
    ],
)
def test_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        read_word_vectors(write(tmp_path, content))
    assert "vectors.txt" in str(error.value)


@pytest.mark.parametrize("content", [b"a 1 2\nb 3 4\n", COMPRESSED])
def test_pipes(tmp_path, content):
    """A pipe gives its bytes only once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    words, vectors = read_word_vectors(str(path))
    writer.join()
    expected, numbers = read_word_vectors(write(tmp_path, content))
    assert words == expected and np.array_equal(vectors, numbers)


def test_late_faults(tmp_path):
    """Also after the lines that decide the width."""
    lines = [f"word{number} 1 2\n" for number in range(150)]
    path = write(tmp_path, "".join(lines) + "late 3\n")
    with pytest.raises(InputError, match="line 151: expected a word and the 2 numbers"):
        read_word_vectors(path)
    path = write(tmp_path, "".join(lines) + "late 3 x\n")
    with pytest.raises(InputError, match="line 151"):
        read_word_vectors(path)
    assert len(read_word_vectors(path, {"word3"})[0]) == 1  # other vectors are not read


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read .*absent: No such file"):
        read_word_vectors(str(tmp_path / "absent"))


def test_round_trip(tmp_path):
    path = str(tmp_path / "vectors.txt")
    vectors = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)
    write_word_vectors(path, ["a", ". . .", "5"], vectors)
    words, found = read_word_vectors(path)
    assert words == ["a", ". . .", "5"]
    np.testing.assert_array_equal(found, vectors)


def test_every_float_comes_back(tmp_path):
    """Random bits: all exponents, also numbers that are not normal."""
    bits = np.random.default_rng(2).integers(0, 2**32, size=(40, 50), dtype=np.uint32)
    vectors = bits.view(np.float32)
    vectors[~np.isfinite(vectors)] = 1e-45
    path = str(tmp_path / "vectors.txt")
    write_word_vectors(path, [f"word{number}" for number in range(40)], vectors)
    np.testing.assert_array_equal(read_word_vectors(path)[1], vectors)
    with pytest.raises(ValueError, match="3 words do not fit 40 vectors"):
        write_word_vectors(path, ["a", "b", "c"], vectors)
    assert len(read_word_vectors(path)[0]) == 40  # nothing is overwritten
