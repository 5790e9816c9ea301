"""Runs of commands. The quick start runs once; other end-to-end tests use its files."""

import os
import re
import shutil
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
from warm import BIN

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Commands:
    """Runs commands in the checkout, with the commands that the environment has installed."""

    root: Path
    environment: Dict[str, str] = field(default_factory=dict)
    # The commands are next to the interpreter, also if its environment is not active.
    path: List[Path] = field(default_factory=lambda: [BIN])

    def variables(self):
        """All environment variables of a command."""
        path = os.pathsep.join([*map(str, self.path), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix, **self.environment}

    def __call__(self, *command, ok=True, **options):
        """Run a command, check whether it succeeds (*ok*), and return its output."""
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
def command(root, warm):
    """Run a command whose Python processes are forked, which saves the time of the imports."""
    return Commands(root, path=[warm.stand_ins, BIN])


@pytest.fixture(scope="session")
def cold_command(root):
    """Run a command as users do, in new processes."""
    return Commands(root)


@pytest.fixture(scope="session")
def quickstart(cold_command, tmp_path_factory):
    """The directory and the output of a run of scripts/quickstart.sh."""
    directory = tmp_path_factory.mktemp("quickstart")
    output = cold_command("bash", "scripts/quickstart.sh", "--dir", directory)
    print(output)
    return directory, output


@pytest.fixture(scope="session")
def start(warm):
    """Start a command of fairseq that reads the text *input* and appends to the file *log*."""

    def start(log, name, *arguments, input=""):
        arguments = [*map(str, arguments), "--user-dir", str(ROOT / "fairseq_lrn")]
        with tempfile.TemporaryFile() as input_file, open(log, "ab") as output:
            input_file.write(input.encode())
            input_file.seek(0)
            streams = [input_file.fileno(), output.fileno(), output.fileno()]
            return warm.start(streams, f"fairseq-{name}", arguments)

    return start


@pytest.fixture(scope="session")
def fairseq(start, tmp_path_factory):
    """Run a command of fairseq, check whether it succeeds (*ok*), and return its output."""
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
    """A directory of prepared data with a few hundred sentences, for short training runs.

    The subset "test1" has a few of them.
    """
    directory = tmp_path_factory.mktemp("toy")
    pairs = generate(400)
    parts = {"train": pairs, "valid": pairs[:40], "test": pairs[40:80], "few": pairs[80:92]}
    for split, part in parts.items():
        for side, lang in enumerate(("en", "de")):
            write_lines(str(directory / f"{split}.{lang}"), [pair[side] for pair in part])
    prepare(
        PrepareOptions(
            *("en", "de"),
            trainpref=str(directory / "train"),
            validpref=str(directory / "valid"),
            testpref=[str(directory / "test"), str(directory / "few")],
            destdir=str(directory / "data-bin"),
            vocab_size=300,
        )
    )
    return str(directory / "data-bin")


def bleu(output):
    """The BLEU of sacreBLEU in the output of ``fairseq-lrn score``."""
    return float(re.search(r"BLEU\|nrefs:1\|.*? = ([\d.]+)", output).group(1))


@pytest.fixture(scope="session")
def bleu_of():
    return bleu


def hypotheses(output):
    """Translations by sentence number in the output of fairseq-generate."""
    found = re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.MULTILINE)
    return {int(number): text for number, text in found}


@pytest.fixture(scope="session")
def hypotheses_of():
    return hypotheses


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    paths = filter(None, map(shutil.which, BROWSERS))
    path = os.environ.get("FAIRSEQ_LRN_BROWSER") or next(paths, None)
    if path is None:
        pytest.skip("no Chromium found: install it, or set FAIRSEQ_LRN_BROWSER to its path")
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()
