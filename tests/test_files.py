"""Files that are complete, or are not there under their name."""

import os
import resource

import pytest

from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    return path


def test_complete_file_replaces_the_earlier_one(path):
    with atomic_write(str(path)) as file:
        file.write(b"new")
        assert path.read_bytes() == b"earlier"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError("no translation"), KeyboardInterrupt()])
def test_error_of_the_writer_is_raised_as_it_is(path, error):
    """It does not become an error of writing the file."""
    with pytest.raises(type(error)) as caught:
        with atomic_write(str(path)) as file:
            file.write(b"incomplete")
            raise error
    assert caught.value is error
    assert path.read_bytes() == b"earlier" and os.listdir(path.parent) == ["file"]


def test_full_disk(path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=f"cannot write {path}: File too large; earlier files"):
            with atomic_write(str(path)) as file:
                file.write(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"earlier" and os.listdir(path.parent) == ["file"]


def test_error_that_torch_hides_behind_its_own(path):
    with pytest.raises(InputError, match="No space left on device"):
        with atomic_write(str(path)):
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise RuntimeError("unexpected pos") from error


def test_missing_directory(tmp_path):
    with pytest.raises(InputError, match="cannot write .*absent/file: No such file or directory"):
        with atomic_write(str(tmp_path / "absent" / "file")):
            pass
