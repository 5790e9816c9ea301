"""Sentences per second of real ``fairseq-generate`` runs: ``scripts/benchmark.py generate``.

Every candidate translates a whole subset with beam search in a process of its own, in turns.
fairseq itself counts the seconds, without loading and printing. CTranslate2, if it is installed,
translates the same tokens in the same batches with a transformer that its own tool converted.
"""

import glob
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import sacrebleu
import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import infer_language_pair, load_indexed_dataset
from fairseq.models import ARCH_MODEL_NAME_REGISTRY

from benchmarks.machine import mebibytes
from benchmarks.rows import select_rows
from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError, command_failed
from fairseq_lrn.modules.linear import can_pack

BEAM = 5
OURS = ("lrn", "transformer_lrn")
# Linux counts the memory of a parent as its child's. So a small process starts the large one.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""
ENGINE_SCRIPT = os.path.join(os.path.dirname(__file__), "ctranslate2_run.py")


class Candidate(NamedTuple):
    """A trained model, and how it is made to translate.

    Attributes:
        name: in the table.
        checkpoint: file.
        options: of ``fairseq-generate``.
        engine: type of CTranslate2's products; None: it is fairseq that translates.
    """

    name: str
    checkpoint: str
    options: Sequence[str] = ()
    engine: Optional[str] = None


class Speed(NamedTuple):
    """What was measured of a candidate.

    Attributes:
        name: of the candidate.
        batch_size: sentences in a batch.
        sentences: sentences per second, one figure for each turn.
        tokens: of a translation, its end included, on average.
        bleu: of the translations, over tokens as they are.
        memory: largest resident memory of the process, MiB; None: not measured.
    """

    name: str
    batch_size: int
    sentences: Sequence[float]
    tokens: float
    bleu: float
    memory: Optional[float]

    @property
    def median(self) -> float:
        """Sentences per second."""
        return statistics.median(self.sentences)


def candidates(
    models: Sequence[Tuple[str, str]], names: Optional[Sequence[str]] = None
) -> List[Candidate]:
    """All the ways in which these models are made to translate.

    Args:
        models: names and checkpoints. The first is what the others are compared with.
        names: only candidates of these names.

    Raises:
        InputError: a checkpoint cannot be read, or is of a model that fairseq does not know; or
            two models have one name, or there is no candidate of one of the names.
    """
    chosen = []
    for name, path in models:
        options = (checkpoints.load(path).get("cfg") or {}).get("model")
        # A namespace, or a dictionary for models with a dataclass of options.
        options = options if isinstance(options, dict) else vars(options or Namespace())
        arch = options.get("arch") or options.get("_name")
        model = ARCH_MODEL_NAME_REGISTRY.get(arch, arch)
        if model is None:
            raise InputError(f"{path} does not say what model it is of; train it with this fairseq")
        if model in OURS:
            task = ["--task", "translation_lrn"]
            chosen.append(Candidate(name, path, task))
            for dtype in ("bfloat16", "int8"):
                if can_pack(getattr(torch, dtype)):
                    rounded = [*task, "--generation-dtype", dtype]
                    chosen.append(Candidate(f"{name}, {dtype}", path, rounded))
            chosen.append(Candidate(f"{name}, fairseq's search", path))
            continue
        chosen.append(Candidate(name, path))
        if model == "transformer" and importlib.util.find_spec("ctranslate2"):
            for dtype in ("float32", "int8"):
                chosen.append(Candidate(f"{name}, CTranslate2 {dtype}", path, engine=dtype))
    twice = [name for name, times in Counter(one.name for one in chosen).items() if times > 1]
    if twice:
        raise InputError(f"two models are called {twice[0]}: give each --model a name of its own")
    return select_rows(chosen, names)


def measure(
    data: str,
    user_dir: str,
    chosen: Sequence[Candidate],
    batch_sizes: Sequence[int] = (1, 16, 128),
    rounds: int = 3,
    subset: str = "test",
) -> List[Speed]:
    """Translate a subset with every candidate, in turns.

    Args:
        data: directory that ``scripts/prepare_text.py`` or ``fairseq-preprocess`` made.
        user_dir: fairseq_lrn's directory.
        chosen: the candidates.
        batch_sizes: sentences in a batch.
        rounds: turns of each, at each batch size.
        subset: of the data.

    Raises:
        InputError: there are no such data, or a run failed, with the end of what it printed.
    """
    pair = infer_language_pair(data) if os.path.isdir(data) else (None, None)
    if None in pair or not os.path.exists(os.path.join(data, f"dict.{pair[0]}.txt")):
        raise InputError(f"{data} has no data that fairseq-preprocess made; see --help")
    if not glob.glob(os.path.join(data, f"{subset}.{pair[0]}-{pair[1]}.*.idx")):
        raise InputError(f"{data} has no subset {subset}; give another --subset")
    speeds = []
    with tempfile.TemporaryDirectory() as place:
        for batch_size in batch_sizes:
            runs: Dict[str, list] = {candidate.name: [] for candidate in chosen}
            for _ in range(rounds):
                for candidate in chosen:
                    translate = _with_fairseq if candidate.engine is None else _with_engine
                    runs[candidate.name].append(
                        translate(data, user_dir, candidate, batch_size, subset, place)
                    )
            for name, results in runs.items():
                sentences, tokens, bleu, memory = zip(*results)
                peak = None if memory[0] is None else max(memory)
                speeds.append(Speed(name, batch_size, sentences, tokens[0], bleu[0], peak))
    return speeds


def _with_fairseq(data, user_dir, candidate, batch_size, subset, place):
    command = [sys.executable, "-m", "fairseq_cli.generate", data, "--user-dir", user_dir]
    command += ["--path", candidate.checkpoint, "--gen-subset", subset, "--beam", str(BEAM)]
    command += ["--batch-size", str(batch_size), "--required-batch-size-multiple", "1"]
    command += ["--remove-bpe", "sentencepiece", "--no-progress-bar", "--cpu", *candidate.options]
    output, memory = _run(command, candidate.name, place)
    speed = re.search(
        r"Translated [\d,]+ sentences \(([\d,]+) tokens\) .* \(([\d.]+) sentences/s", output
    )
    references = dict(re.findall(r"^T-(\d+)\t(.*)$", output, re.MULTILINE))
    translations = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.MULTILINE))
    if speed is None or not translations:
        raise InputError(f"{candidate.name} translated nothing; is {subset} in {data} empty?")
    tokens = int(speed.group(1).replace(",", "")) / len(translations)
    return float(speed.group(2)), tokens, _bleu(translations, references), memory


def _with_engine(data, user_dir, candidate, batch_size, subset, place):
    """Convert the model and write the tokens, once; then let CTranslate2 translate them."""
    from ctranslate2.converters import FairseqConverter

    source, target = infer_language_pair(data)
    model = os.path.join(place, f"{candidate.name}.ctranslate2".replace("/", "_"))
    lines = os.path.join(place, "lines.json")
    if not os.path.exists(lines):
        sides = {}
        for lang in (source, target):
            dictionary = Dictionary.load(os.path.join(data, f"dict.{lang}.txt"))
            path = os.path.join(data, f"{subset}.{source}-{target}.{lang}")
            tokens = load_indexed_dataset(path, dictionary)
            # A reference's unknown words match nothing, as when fairseq prints it.
            sides[lang] = [
                dictionary.string(line, escape_unk=lang == target).split() for line in tokens
            ]
        with open(lines, "w", encoding="utf-8") as file:
            json.dump([sides[source], sides[target]], file)
    if not os.path.exists(model):
        converter = FairseqConverter(
            candidate.checkpoint, data, source_lang=source, target_lang=target
        )
        try:
            converter.convert(model, quantization=candidate.engine)
        except Exception as error:  # a model that it cannot run; what it raises is not documented
            raise InputError(
                f"CTranslate2 cannot convert {candidate.checkpoint}: {error}; "
                "leave the model out, or uninstall ctranslate2"
            ) from error
    command = [sys.executable, ENGINE_SCRIPT, model, lines, str(batch_size), str(BEAM)]
    output, _ = _run(command, candidate.name, place)
    result = json.loads(output.splitlines()[-1])
    with open(lines, encoding="utf-8") as file:
        references = json.load(file)[1]

    def plain(sentences):  # as --remove-bpe sentencepiece
        return {
            number: "".join(tokens).replace("\u2581", " ").strip()
            for number, tokens in enumerate(sentences)
        }

    translations = result["translations"]
    tokens = statistics.mean(len(translation) + 1 for translation in translations)
    return result["speed"], tokens, _bleu(plain(translations), plain(references)), None


def _run(command: List[str], name: str, place: str) -> Tuple[str, float]:
    """What the command printed, and the largest memory of its process in MiB."""
    peak = os.path.join(place, "peak")
    process = subprocess.run(
        [sys.executable, "-c", LAUNCHER, peak, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    if process.returncode != 0:
        raise command_failed(f"translating with {name}", process.stdout)
    with open(peak, encoding="utf-8") as file:
        return process.stdout, mebibytes(int(file.read()))


def _bleu(translations: Dict, references: Dict) -> float:
    keys = sorted(references)
    lines = [translations[key] for key in keys], [[references[key] for key in keys]]
    return sacrebleu.corpus_bleu(*lines, tokenize="none", force=True).score


def format_table(speeds: Sequence[Speed]) -> str:
    """A Markdown table; the last column says how many times as fast as each the first one is."""
    rows = [
        "| model | batch | sentences per second | lowest to highest | first / this "
        "| tokens each | BLEU | MiB |"
    ]
    rows.append("| --- |" + " ---: |" * 7)
    first = {speed.batch_size: speed for speed in reversed(speeds)}
    for speed in speeds:
        memory = "" if speed.memory is None else f"{speed.memory:.0f}"
        rows.append(
            f"| {speed.name} | {speed.batch_size} | {speed.median:.1f} | "
            f"{min(speed.sentences):.1f} to {max(speed.sentences):.1f} | "
            f"{first[speed.batch_size].median / speed.median:.2f} | {speed.tokens:.1f} "
            f"| {speed.bleu:.2f} | {memory} |"
        )
    return "\n".join(rows)
