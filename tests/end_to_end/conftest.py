"""The quick start, run once; every end-to-end test works on what it leaves."""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List

import pytest

from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.data.prepare import PrepareOptions, prepare
from toy_grammar import generate
from warm import BIN, Warm

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Commands:
    """Runs commands in the checkout, with the installed scripts of the environment."""

    root: Path
    environment: Dict[str, str] = field(default_factory=dict)
    # The commands lie beside the interpreter, even where its environment is not active.
    path: List[Path] = field(default_factory=lambda: [BIN])

    def variables(self):
        """The whole environment of a command."""
        path = os.pathsep.join([*map(str, self.path), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix, **self.environment}

    def __call__(self, *command, ok=True, **options):
        result = subprocess.run(
            list(map(str, command)),
            cwd=self.root,
            env=self.variables(),
            capture_output=True,
            text=True,
            **options,
        )
        output = result.stdout + result.stderr
        assert (result.returncode == 0) == ok, f"exit {result.returncode}\n{output[-5000:]}"
        return output


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    return Warm(tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="session")
def command(root, warm):
    """Run a command, whose Python processes do not take the time that importing takes."""
    return Commands(root, path=[warm.stand_ins, BIN])


@pytest.fixture(scope="session")
def cold_command(root):
    """Run a command as users do, in processes of its own."""
    return Commands(root)


@pytest.fixture(scope="session")
def quickstart(cold_command, tmp_path_factory):
    """Directory that scripts/quickstart.sh filled, and what it printed."""
    directory = tmp_path_factory.mktemp("quickstart")
    output = cold_command("bash", "scripts/quickstart.sh", "--dir", directory)
    print(output)
    return directory, output


@pytest.fixture(scope="session")
def start(warm):
    """Start a command of fairseq that reads *input* and writes to the file *log*."""

    def start(log, name, *arguments, input=""):
        arguments = [*map(str, arguments), "--user-dir", str(ROOT / "fairseq_lrn")]
        with tempfile.TemporaryFile() as given, open(log, "ab") as output:
            given.write(input.encode())
            given.seek(0)
            streams = [given.fileno(), output.fileno(), output.fileno()]
            return warm.start(streams, f"fairseq-{name}", arguments)

    return start


@pytest.fixture(scope="session")
def fairseq(start, tmp_path_factory):
    """Run a command of fairseq, and return what it printed."""
    directory = tmp_path_factory.mktemp("fairseq")

    def fairseq(name, *arguments, ok=True, input=""):
        log = directory / f"{name}.log"
        log.unlink(missing_ok=True)
        process = start(log, name, *arguments, input=input)
        process.join()
        output = log.read_text()
        assert (process.exitcode == 0) == ok, output[-5000:]
        return output

    return fairseq


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """Prepared data of a few hundred sentences, for trainings of a few updates."""
    directory = tmp_path_factory.mktemp("toy")
    pairs = generate(400)
    for split, part in (("train", pairs), ("valid", pairs[:40]), ("test", pairs[40:80])):
        for side, lang in enumerate(("en", "de")):
            write_lines(str(directory / f"{split}.{lang}"), [pair[side] for pair in part])
    prepare(
        PrepareOptions(
            *("en", "de"),
            trainpref=str(directory / "train"),
            validpref=str(directory / "valid"),
            testpref=[str(directory / "test")],
            destdir=str(directory / "data-bin"),
            vocab_size=300,
        )
    )
    return str(directory / "data-bin")


def bleu(output):
    """sacreBLEU as scripts/score.sh prints it."""
    return float(re.search(r"BLEU\|nrefs:1\|.*? = ([\d.]+)", output).group(1))


@pytest.fixture(scope="session")
def bleu_of():
    return bleu


def hypotheses(output):
    """Translations by sentence number, from what fairseq-generate printed."""
    found = re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.MULTILINE)
    return {int(number): text for number, text in found}


@pytest.fixture(scope="session")
def hypotheses_of():
    return hypotheses
