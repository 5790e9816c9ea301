"""Line alignment is never lost."""

import pytest

from fairseq_lrn.data.parallel import read_lines, read_pair, write_lines
from fairseq_lrn.errors import InputError


def test_only_line_feeds_end_lines(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a\u2028b\r\n\n c\x0bd\x85e \nlast".encode())
    assert read_lines(str(path)) == ["a b", "", "c d e", "last"]


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "text"
    lines = ["eins zwei", "", "drei"]
    write_lines(str(path), lines)
    assert read_lines(str(path)) == lines


@pytest.mark.parametrize(
    "content, message",
    [(None, "cannot read"), (b"", "is empty"), (b" \n\n", "is empty"), (b"a\n\xff", "line 2")],
)
def test_unusable_files(tmp_path, content, message):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_lines(str(path))
    assert str(path) in str(error.value)


def test_different_lengths(tmp_path):
    (tmp_path / "x.en").write_text("a\nb\n")
    (tmp_path / "x.de").write_text("a\n")
    with pytest.raises(InputError, match=r"x\.en has 2 lines, but .*x\.de has 1"):
        read_pair(str(tmp_path / "x"), "en", "de")
