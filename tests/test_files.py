"""Files that are complete, or are not there under their name."""

import errno
import os
import resource
import stat
import threading

import pytest

from fairseq_lrn import files
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


def write(path, content=b"new"):
    with atomic_write(str(path)) as file:
        file.write(content)


def test_permissions(path, tmp_path):
    """An existing file keeps them; a new file has those that the umask leaves."""
    path.chmod(0o664)
    earlier = os.umask(0o077)
    try:
        write(path)
        write(tmp_path / "new")
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner(path):
    os.chown(path, 1234, 5678)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


def test_protected_file(path, monkeypatch):
    """Only its directory's permissions matter for renaming, so they are checked."""
    monkeypatch.setattr(os, "access", lambda name, mode: False)
    with pytest.raises(InputError, match="cannot write .*: Permission denied; earlier files"):
        write(path)
    assert path.read_bytes() == b"earlier"


def test_files_of_the_user_stay(path, tmp_path):
    for suffix in ("tmp", "incomplete"):
        (tmp_path / f"file.{suffix}").write_bytes(b"precious")
    write(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "file.incomplete", "file.tmp"]
    assert (tmp_path / "file.tmp").read_bytes() == b"precious"


def test_file_of_a_killed_process(path, tmp_path):
    names = [f"file.{number:08x}.tmp" for number in range(3)] + ["file.original.tmp"]
    for name in names:
        (tmp_path / name).touch()
    for name in names[1:]:
        os.utime(tmp_path / name, (0, 0))
    write(path)
    assert sorted(os.listdir(tmp_path)) == ["file", names[0], "file.original.tmp"]


def test_long_name(tmp_path):
    write(tmp_path / ("\u00e4" * 127))
    assert os.listdir(tmp_path) == ["\u00e4" * 127]


@pytest.mark.parametrize("target", ["file", "absent", "second"])
def test_links_stay(path, tmp_path, target):
    """Links to a file, to a file that does not exist, and to another link."""
    (tmp_path / "store").mkdir()
    link, second = tmp_path / "store" / "link", tmp_path / "second"
    link.symlink_to(f"../{target}")
    second.symlink_to(path)
    write(link)
    assert os.readlink(link) == f"../{target}" and second.is_symlink()
    assert (tmp_path / target).read_bytes() == b"new"
    assert os.listdir(tmp_path / "store") == ["link"]


def test_circular_link(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(InputError, match="Too many levels of symbolic links"):
        write(tmp_path / "link")


@pytest.mark.parametrize("fault", ["replace", "open"])
def test_file_that_can_only_be_overwritten(path, monkeypatch, fault):
    """A file mounted by itself cannot be renamed; some directories take no new files."""

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    def protected(name, mode):
        if name.startswith(str(path)):
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(name, mode)

    if fault == "replace":
        monkeypatch.setattr(os, "replace", busy)
    else:
        monkeypatch.setattr(files, "open", protected, raising=False)
        monkeypatch.setattr(os, "replace", busy)  # from another file system, or here
    before = path.stat().st_ino
    write(path)
    assert path.read_bytes() == b"new" and path.stat().st_ino == before
    assert os.listdir(path.parent) == ["file"]


def test_pipe(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join()
    assert received == [b"new"] and os.listdir(tmp_path) == ["pipe"] and pipe.is_fifo()


def test_device(tmp_path):
    device = tmp_path / "full"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root can make devices")
    with pytest.raises(InputError, match="full: No space left on device. Fix"):
        write(device)
    assert device.is_char_device()


def test_open_file(path):
    """It is written where it stands, as the shell does with ``>>``."""
    with open(path, "ab") as file:
        write(f"/dev/fd/{file.fileno()}")
    assert path.read_bytes() == b"earliernew"


def test_reader_that_ends():
    """The command that writes decides what this means."""
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write(f"/dev/fd/{writer}")
    os.close(writer)


def test_incomplete_file_is_kept_on_request(path, caplog):
    for content in (b"", b"beginning"):
        with pytest.raises(KeyboardInterrupt):
            with atomic_write(str(path), keep_incomplete=True) as file:
                file.write(content)
                raise KeyboardInterrupt
    assert path.read_bytes() == b"earlier"
    (kept,) = set(os.listdir(path.parent)) - {"file"}
    assert (path.parent / kept).read_bytes() == b"beginning"
    assert caplog.messages == [f"not finished; the output so far is in {path.parent / kept}"]


def test_directory(tmp_path):
    for name in (str(tmp_path), f"{tmp_path}/new/"):
        with pytest.raises(InputError, match=f"cannot write {name}"):
            write(name)


def test_missing_directory(tmp_path):
    with pytest.raises(InputError, match="cannot write .*absent/file: No such file or directory"):
        with atomic_write(str(tmp_path / "absent" / "file")):
            pass
