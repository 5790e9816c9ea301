"""The quick start, run once; every end-to-end test works on what it leaves."""

import multiprocessing
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict

import pytest

from fairseq_lrn.text.grammar import generate
from fairseq_lrn.text.parallel import write_lines
from fairseq_lrn.text.prepare import PrepareOptions, prepare

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Commands:
    """Runs commands as a user would: installed scripts of the environment, in the checkout."""

    root: Path
    environment: Dict[str, str] = field(default_factory=dict)

    def __call__(self, *command, ok=True, **options):
        # The commands lie beside the interpreter, even where its environment is not active.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix, **self.environment}
        result = subprocess.run(
            list(map(str, command)),
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            **options,
        )
        output = result.stdout + result.stderr
        assert (result.returncode == 0) == ok, f"exit {result.returncode}\n{output[-5000:]}"
        return output

    def fairseq(self, name, *arguments, **options):
        return self(f"fairseq-{name}", *arguments, "--user-dir", "fairseq_lrn", **options)


@pytest.fixture(scope="session")
def command(root):
    return Commands(root)


@pytest.fixture(scope="session")
def quickstart(command, tmp_path_factory):
    """Directory that scripts/quickstart.sh filled, and what it printed."""
    directory = tmp_path_factory.mktemp("quickstart")
    output = command("bash", "scripts/quickstart.sh", "--dir", directory)
    print(output)
    return directory, output


@pytest.fixture(scope="session")
def start():
    """Start a command of fairseq as a process of its own, without the time that importing takes.

    It is forked where all is imported already, runs on one thread, and writes to a file.
    """
    here = os.path.dirname(__file__)
    sys.path.insert(0, here)  # the new process looks there, too
    from forked import run

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fairseq_cli.train", "fairseq_cli.generate", "fairseq_lrn"])
    warm = context.Process(target=int)
    warm.start()
    warm.join()

    def start(log, name, *arguments):
        arguments = [*map(str, arguments), "--user-dir", str(ROOT / "fairseq_lrn")]
        process = context.Process(target=run, args=(str(log), name, arguments))
        process.start()
        return process

    yield start
    sys.path.remove(here)


@pytest.fixture
def fairseq(start, tmp_path):
    """Run a command of fairseq, and return what it printed."""

    def fairseq(name, *arguments, ok=True):
        log = tmp_path / f"{name}.log"
        log.unlink(missing_ok=True)
        process = start(log, name, *arguments)
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
