"""The directory of prepared data is made as a whole or not at all."""

import os
import subprocess
import sys

import pytest

from fairseq_lrn.data.destination import check_destdir, check_names, new_directory
from fairseq_lrn.errors import InputError


def test_two_processes_do_not_prepare_the_same_data(tmp_path):
    destdir = str(tmp_path / "data")
    (tmp_path / "data.incomplete" / "text").mkdir(parents=True)  # left by a process that was killed
    with new_directory(destdir) as working:
        assert os.listdir(working) == ["lock"]
        (tmp_path / "data.incomplete" / "dict.txt").write_text("a 1")
        code = "import sys; from fairseq_lrn.data.destination import new_directory\n"
        code += "with new_directory(sys.argv[1]): pass"
        command = [sys.executable, "-c", code, destdir]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        assert f"another process prepares {destdir}: wait until it is done" in result.stderr
    assert os.listdir(destdir) == ["dict.txt"] and os.listdir(tmp_path) == ["data"]


def test_a_name_that_ends_in_a_dot_and_a_name_that_is_taken(tmp_path):
    with new_directory(f"{tmp_path}/new/.") as working:
        assert working == f"{tmp_path}/new.incomplete"
    assert (tmp_path / "new").is_dir()
    # Somebody else makes the directory in the meantime: what is complete is kept.
    with pytest.raises(InputError, match="cannot rename .* the data are complete"):
        with new_directory(str(tmp_path / "late")) as working:
            (tmp_path / "late").write_text("")
    assert (tmp_path / "late.incomplete").is_dir()


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), new_directory(str(tmp_path / "data")) as working:
        os.makedirs(os.path.join(working, "text"))
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_names(tmp_path, caplog):
    check_destdir(str(tmp_path / "data"))
    with pytest.raises(InputError, match="exists already: remove it or choose another --destdir"):
        check_destdir(str(tmp_path))
    for names in ({"trainpref": "a", "validpref": "b"}, {"trainpref": None, "validpref": None}):
        check_names(**names)
        assert not caplog.records
    check_names(trainpref="a", validpref=None)
    assert "no validation set, which fairseq-train reads: give --validpref" in caplog.text
    with pytest.raises(InputError, match="--vectors has an empty name: give a file, or leave"):
        check_names(trainpref="a", vectors="")
