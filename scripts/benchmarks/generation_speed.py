"""Sentences per second of real ``fairseq-generate`` runs: ``scripts/benchmark.py generate``.

The candidates take turns. Each translates a whole subset with beam search, in a process of its own.
fairseq counts the seconds, without loading and printing. If CTranslate2 is installed, it translates
the same tokens in the same batches with a transformer converted by its own tool. Several threads
can be slower than one, so candidates may run with several numbers of threads; the fastest counts.
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
from collections import Counter, defaultdict
from itertools import product
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import sacrebleu
import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import infer_language_pair, load_indexed_dataset
from fairseq.models import ARCH_MODEL_NAME_REGISTRY

from benchmarks.machine import mebibytes
from benchmarks.rows import markdown_table, select_rows
from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError, command_failed
from fairseq_lrn.modules.linear import can_pack

BEAM = 5
# Models that the search of the task translation_lrn supports.
SEARCHABLE = ("lrn", "lrn_rnmt", "transformer_lrn")
# On Linux, the peak memory of a child process includes its parent's memory at the start. A small
# process therefore starts the command.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""
ENGINE_SCRIPT = os.path.join(os.path.dirname(__file__), "ctranslate2_run.py")


class Candidate(NamedTuple):
    """A trained model and a way to translate with it.

    Attributes:
        name: name in the table.
        checkpoint: path of the checkpoint.
        options: options of ``fairseq-generate``.
        ctranslate2_type: type of CTranslate2's matrix products; None: fairseq translates.
    """

    name: str
    checkpoint: str
    options: Sequence[str] = ()
    ctranslate2_type: Optional[str] = None


class Speed(NamedTuple):
    """The decoding speed of a candidate.

    Attributes:
        name: name of the candidate.
        batch_size: sentences per batch.
        sentences: sentences per second in each turn.
        tokens: average number of tokens per translation, EOS included.
        bleu: BLEU of the translations without further tokenisation.
        memory: peak resident memory of the process, in MiB; None: not measured.
        threads: number of threads.
    """

    name: str
    batch_size: int
    sentences: Sequence[float]
    tokens: float
    bleu: float
    memory: Optional[float]
    threads: int

    @property
    def median(self) -> float:
        """Median of the sentences per second."""
        return statistics.median(self.sentences)


def candidates(
    models: Sequence[Tuple[str, str]], names: Optional[Sequence[str]] = None
) -> List[Candidate]:
    """Every way to translate with the given models.

    Args:
        models: names and checkpoints. The others are compared with the first.
        names: names of candidates to keep; None keeps all.

    Raises:
        InputError: a checkpoint cannot be read, or fairseq does not know its model; two models have
            the same name; or no candidate has one of the names.
    """
    chosen = []
    for name, path in models:
        options = checkpoints.options_of(checkpoints.load(path), "model")
        arch = options.get("arch") or options.get("_name")
        model = ARCH_MODEL_NAME_REGISTRY.get(arch, arch)
        if model is None:
            raise InputError(f"{path} does not name its model: train it with this fairseq")
        if model in SEARCHABLE:
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
                chosen.append(Candidate(f"{name}, CTranslate2 {dtype}", path, (), dtype))
    counts = Counter(candidate.name for candidate in chosen)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise InputError(f"two models are called {repeated[0]}: give each --model its own name")
    return select_rows(chosen, names)


def measure(
    data: str,
    user_dir: str,
    chosen: Sequence[Candidate],
    batch_sizes: Sequence[int] = (1, 16, 128),
    rounds: int = 3,
    subset: str = "test",
    threads: Sequence[int] = (),
) -> List[Speed]:
    """Translate a subset with every candidate, in turns.

    Args:
        data: directory of prepared data (``fairseq-lrn prepare`` or ``fairseq-preprocess``).
        user_dir: directory of fairseq_lrn.
        chosen: the candidates.
        batch_sizes: sentences per batch.
        rounds: turns of each candidate at each batch size.
        subset: the subset of the data to translate.
        threads: numbers of threads that each candidate runs with; empty: torch's.

    Returns:
        for each batch size and candidate the speed with the fastest number of threads.

    Raises:
        InputError: the data or the subset do not exist, or a run failed; the message has the end of
            its output.
    """
    pair = infer_language_pair(data) if os.path.isdir(data) else (None, None)
    if None in pair or not os.path.exists(os.path.join(data, f"dict.{pair[0]}.txt")):
        raise InputError(f"{data} has no prepared data: run fairseq-lrn prepare first")
    if not glob.glob(os.path.join(data, f"{subset}.{pair[0]}-{pair[1]}.*.idx")):
        raise InputError(f"{data} has no subset {subset}; give another --subset")
    speeds = []
    numbers = threads or (torch.get_num_threads(),)
    with tempfile.TemporaryDirectory() as work:
        for batch_size in batch_sizes:
            runs = defaultdict(list)
            for _, candidate, number in product(range(rounds), chosen, numbers):
                run = _run_ctranslate2 if candidate.ctranslate2_type else _run_fairseq
                runs[candidate.name, number].append(
                    run(data, user_dir, candidate, batch_size, subset, work, number)
                )
            found = [_speed(*run, batch_size, results) for run, results in runs.items()]
            for candidate in chosen:
                same = (speed for speed in found if speed.name == candidate.name)
                speeds.append(max(same, key=lambda speed: speed.median))
    return speeds


def _speed(name, threads, batch_size, results):
    sentences, tokens, bleu, memory = zip(*results)
    peak = None if memory[0] is None else max(memory)
    return Speed(name, batch_size, sentences, tokens[0], bleu[0], peak, threads)


def _run_fairseq(data, user_dir, candidate, batch_size, subset, work, threads):
    """Speed, tokens per translation, BLEU and peak memory of a ``fairseq-generate`` run."""
    command = [sys.executable, "-m", "fairseq_cli.generate", data, "--user-dir", user_dir]
    command += ["--path", candidate.checkpoint, "--gen-subset", subset, "--beam", str(BEAM)]
    command += ["--batch-size", str(batch_size), "--required-batch-size-multiple", "1"]
    command += ["--remove-bpe", "sentencepiece", "--no-progress-bar", "--cpu", *candidate.options]
    output, memory = _run(command, candidate.name, work, threads)
    speed = re.search(
        r"Translated [\d,]+ sentences \(([\d,]+) tokens\) .* \(([\d.]+) sentences/s", output
    )
    references = dict(re.findall(r"^T-(\d+)\t(.*)$", output, re.MULTILINE))
    translations = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.MULTILINE))
    if speed is None or not translations:
        raise InputError(f"{candidate.name} translated nothing: is {subset} in {data} empty?")
    tokens = int(speed.group(1).replace(",", "")) / len(translations)
    return float(speed.group(2)), tokens, _bleu(translations, references), memory


def _run_ctranslate2(data, user_dir, candidate, batch_size, subset, work, threads):
    """The same figures for CTranslate2, without memory; converts model and tokens on first use."""
    from ctranslate2.converters import FairseqConverter

    source, target = infer_language_pair(data)
    model = os.path.join(work, f"{candidate.name}.ctranslate2".replace("/", "_"))
    lines = os.path.join(work, "lines.json")
    if not os.path.exists(lines):
        sides = {}
        for lang in (source, target):
            dictionary = Dictionary.load(os.path.join(data, f"dict.{lang}.txt"))
            path = os.path.join(data, f"{subset}.{source}-{target}.{lang}")
            tokens = load_indexed_dataset(path, dictionary)
            # Unknown words of a reference match no translation, as in fairseq's output.
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
            converter.convert(model, quantization=candidate.ctranslate2_type)
        except Exception as error:  # an unsupported model; the type of the error is undocumented
            raise InputError(
                f"CTranslate2 cannot convert {candidate.checkpoint}: {error}; "
                "leave the model out, or uninstall ctranslate2"
            ) from error
    numbers = (batch_size, BEAM, threads)
    command = [sys.executable, ENGINE_SCRIPT, model, lines, *map(str, numbers)]
    output, _ = _run(command, candidate.name, work, threads)
    result = json.loads(output.splitlines()[-1])
    with open(lines, encoding="utf-8") as file:
        references = json.load(file)[1]

    def plain(sentences):  # like --remove-bpe sentencepiece
        return {
            number: "".join(tokens).replace("\u2581", " ").strip()
            for number, tokens in enumerate(sentences)
        }

    translations = result["translations"]
    tokens = statistics.mean(len(translation) + 1 for translation in translations)
    return result["speed"], tokens, _bleu(plain(translations), plain(references)), None


def _run(command: List[str], name: str, work: str, threads: int) -> Tuple[str, float]:
    """The output of a command, and the peak memory of its process in MiB."""
    peak = os.path.join(work, "peak")
    process = subprocess.run(
        [sys.executable, "-c", LAUNCHER, peak, *command],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
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
    """A Markdown table, with the speed of the first row as a multiple of each row's speed."""
    columns = ["model", "batch", "threads", "sentences per second", "lowest to highest"]
    columns += ["first row / this row", "tokens per sentence", "BLEU", "MiB"]
    first = {speed.batch_size: speed for speed in reversed(speeds)}
    rows = []
    for speed in speeds:
        cells = [speed.name, speed.batch_size, speed.threads, f"{speed.median:.1f}"]
        cells.append(f"{min(speed.sentences):.1f} to {max(speed.sentences):.1f}")
        cells.append(f"{first[speed.batch_size].median / speed.median:.2f}")
        cells += [f"{speed.tokens:.1f}", f"{speed.bleu:.2f}"]
        rows.append([*cells, "" if speed.memory is None else f"{speed.memory:.0f}"])
    return markdown_table(columns, rows)
