"""Line alignment is never lost."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_lrn.data.parallel import read_lines, read_pair, text_lines, write_lines
from fairseq_lrn.errors import InputError


def test_only_line_feeds_end_lines(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a\u2028b\r\n\n c\x0bd\x85e \nlast".encode())
    assert read_lines(str(path)) == ["a b", "", "c d e", "last"]


def test_byte_order_mark(tmp_path):
    path = tmp_path / "text"
    path.write_text("a\nb\n", encoding="utf-8-sig")
    assert read_lines(str(path)) == ["a", "b"]


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


@pytest.mark.parametrize("read", [read_lines, text_lines])
@pytest.mark.parametrize(
    "content, message",
    [
        ("é\nb\n".encode("utf-16"), "is UTF-16, not UTF-8: convert it with iconv -f UTF-16 -t"),
        ("\ufeffab\n".encode("utf-16-be"), "is UTF-16, not UTF-8"),
        ("a\nb\n".encode("utf-32"), "is UTF-32, not UTF-8: convert it with iconv -f UTF-32 -t"),
        (
            gzip.compress(b"a\nb\n", mtime=0),
            "is compressed with gzip, not UTF-8: decompress it first",
        ),
        ("é\nb\n".encode("latin-1"), r"is not UTF-8 \(line 1\): .* iconv -f ISO-8859-1 -t UTF-8"),
        (b"a\n\xff\xfe", r"is not UTF-8 \(line 2\): .* iconv -f ISO-8859-1"),
        (b"a b\rc\r", r"carriage return only, as on old Macs: .* with tr '\\r' '\\n'"),
    ],
    ids=["UTF-16", "UTF-16-BE", "UTF-32", "gzip", "Latin-1", "later", "carriage-returns"],
)
def test_other_encodings(tmp_path, read, content, message):
    """Each has its own remedy."""
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        list(read(str(path)))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"a\r", b"a\r\n", b"a\rb\n"])
def test_one_line_may_have_carriage_returns(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    assert len(read_lines(str(path))) == len(list(text_lines(str(path)))) == 1


def test_link_to_a_file(tmp_path):
    (tmp_path / "link").symlink_to("text")
    write_lines(str(tmp_path / "link"), ["a"])
    assert (tmp_path / "link").is_symlink() and (tmp_path / "text").read_text() == "a\n"


def test_failed_write_keeps_the_earlier_file(tmp_path):
    def lines():
        yield "b"
        raise RuntimeError

    write_lines(str(tmp_path / "text"), ["a"])
    with pytest.raises(RuntimeError):
        write_lines(str(tmp_path / "text"), lines())
    assert (tmp_path / "text").read_text() == "a\n"


def test_lines_as_they_are(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(" a\u2028b \r\n\nc".encode("utf-8-sig"))
    assert list(text_lines(str(path))) == [" a\u2028b \r", "", "c"]


def test_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*file/text"):
        write_lines(str(tmp_path / "file" / "text"), ["a"])


def test_different_lengths(tmp_path):
    (tmp_path / "x.en").write_text("a\nb\n")
    (tmp_path / "x.de").write_text("a\n")
    with pytest.raises(InputError, match=r"x\.en has 2 lines, but .*x\.de has 1"):
        read_pair(str(tmp_path / "x"), "en", "de")


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_as_many_lines_as_line_feeds(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "lines"
    content = "\n".join(lines) + "\n"
    path.write_bytes(content.encode())
    if content.strip("\ufeff").strip():
        assert len(read_lines(str(path))) == content.count("\n")


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1))
def test_arbitrary_bytes(tmp_path_factory, content):
    """They are either lines or an error that names the file."""
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    try:
        lines = read_lines(str(path))
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert len(lines) == content.removesuffix(b"\n").count(b"\n") + 1
