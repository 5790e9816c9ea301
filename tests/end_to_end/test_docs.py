"""README and docs: shell and Python blocks run, tables are complete, pages are built."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fairseq_lrn.criterions.fused_label_smoothed_cross_entropy import (
    FusedLabelSmoothedCrossEntropyConfig,
)
from fairseq_lrn.criterions.language_model_cross_entropy import LanguageModelCrossEntropyConfig
from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.models.classification.classifier import LRNClassifierConfig
from fairseq_lrn.models.classification.pair_classifier import LRNPairClassifierConfig
from fairseq_lrn.models.reading.reader import LRNReaderConfig
from fairseq_lrn.models.tagging.tagger import LRNTaggerConfig
from fairseq_lrn.models.translation.lrn_config import LRNConfig
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.models.translation.transformer_lrn_config import TransformerLRNConfig
from fairseq_lrn.optim.averaged_sgd import AveragedSGDConfig
from fairseq_lrn.tasks.span_prediction import SpanPredictionConfig
from fairseq_lrn.tasks.text_classification import TextClassificationConfig
from labelled_corpus import write_spans
from toy_grammar import generate

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# Long commands run, shortened by their options, in a test of their own: its file.
ELSEWHERE = {
    "bash scripts/setup.sh": "scripts/test.sh",
    "bash scripts/quickstart.sh": "tests/end_to_end/conftest.py",
    "bash scripts/test.sh": ".ci/run",
    "bash scripts/multi30k.sh": "tests/end_to_end/test_multi30k.py",
    "bash scripts/tatoeba.sh": "tests/end_to_end/test_multi30k.py",
    "bash scripts/ptb.sh": "tests/end_to_end/test_language_model.py",
    "bash scripts/wikitext2.sh": "tests/end_to_end/test_language_model.py",
    "bash scripts/imdb.sh": "tests/end_to_end/test_labelled_text.py",
    "bash scripts/snli.sh": "tests/end_to_end/test_labelled_text.py",
    "bash scripts/conll2003.sh": "tests/end_to_end/test_labelled_text.py",
    "bash scripts/squad.sh": "tests/end_to_end/test_labelled_text.py",
    "bash scripts/wmt14_en_de.sh": "tests/end_to_end/test_wmt14.py",
    "bash scripts/compare_cells.sh": "tests/end_to_end/test_compare_cells.py",
    "fairseq-hydra-train": "tests/end_to_end/test_fairseq_options.py",
    "fairseq-lrn convert": "tests/end_to_end/test_convert.py",
    "fairseq-lrn export": "tests/end_to_end/test_fairseq_options.py",
    "python scripts/benchmark.py": "tests/end_to_end/test_benchmark.py",
    "python scripts/check_fairseq_tasks.py": "tests/end_to_end/test_fairseq_options.py",
    "sphinx-build": "tests/end_to_end/test_docs.py",
}
# Changes that make the other commands short enough for a test.
CHANGES = [
    (r"^source \.venv/bin/activate$", "true"),
    (r"(fairseq-lrn prepare(-lm)?) (?!.*--vocab-from)", r"\1 --vocab-size 300 --workers 1 "),
    (r"--max-update \d+", "--max-update 10"),
    (r"--cooldown-updates \d+", "--cooldown-updates 2"),
    (r"--rdrop-from-update \d+", "--rdrop-from-update 5"),
    (r"--num-epoch-checkpoints \d+", "--num-epoch-checkpoints 2"),
    (r"--arch lrn ", "--arch lrn_tiny "),
    (r"--warmup-updates (1|2|5)00\b", "--warmup-updates 2"),
    (r"--arch lrn_lm ", "--arch lrn_lm --decoder-embed-dim 32 --decoder-hidden-size 32 "),
    (r"(--arch lrn_(classifier|tagger|reader)) ", r"\1 --word-embed-dim 16 --hidden-size 16 "),
    (r"^fairseq-lrn serve", "serve"),
    (r"^curl (.*) http://127.0.0.1:8080/", r"curl --fail-with-body \1 $(cat url.log)"),
]
SERVE = """
serve() {
  rm -f serve.log  # of an earlier page
  fairseq-lrn serve "$@" --port 0 >serve.log &
  trap "kill $!" EXIT
  for _ in {1..100}; do grep -qs http serve.log && break; sleep 0.3; done
  grep -o "^http[^ ]*" serve.log >url.log
}
"""


# Labelled texts for the pages on classification and tagging.
TEXTS = [
    f"{label}\t{text}"
    for label, word in (("good", "fine"), ("bad", "dull"))
    for text in (f"A {word} film.", f"The plot is {word}.", f"So {word}, so long!")
]
TAGGED = [
    *(("Ada", "B-PER"), ("lived", "O"), ("in", "O"), ("London", "B-LOC"), (".", "O"), ("", "")),
    *(("New", "B-LOC"), ("York", "I-LOC"), ("is", "O"), ("not", "O"), ("London", "B-LOC")),
]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    text = "".join(blocks(page, "bash")).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def elsewhere(command):
    return next((file for start, file in ELSEWHERE.items() if command.startswith(start)), None)


def test_commands_of_other_tests():
    """A command that is not run here is run by the test that is named for it."""
    found = {command for page in PAGES for command in commands(page) if elsewhere(command)}
    assert len(found) > 5
    for command in found:
        words = command.split()
        if words[0] == "fairseq-lrn":
            name = " ".join(words[:2])
        elif words[0] in ("bash", "python"):
            name = Path(words[1]).name
        else:
            name = words[0]
        assert name in (ROOT / elsewhere(command)).read_text(), command


def test_commands_name_the_user_directory():
    """The commands that the tests run have this package without it."""
    for page in PAGES:
        for command in commands(page):
            if re.match(r"fairseq-(train|generate|interactive|validate|eval-lm)\b", command):
                assert " --user-dir " in command, command


def test_no_command_in_another_form():
    """In a block of another kind it would not be found, and not run."""
    command = r"^ {4}(\$ )?(bash|sh|python|pip|source|git|sacrebleu|sphinx-build|fairseq-\w+) .*"
    for page in PAGES:
        assert not re.findall(command, page.read_text(), re.MULTILINE), page
        assert not re.findall(r"^```(sh|shell|console|text)?\n\S", page.read_text()), page


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The checkout by another name, with a little raw text in it."""
    directory = tmp_path_factory.mktemp("checkout")
    for name in ("fairseq_lrn", "scripts", "docs", "setup.py"):
        (directory / name).symlink_to(ROOT / name)
    pairs = generate(400)
    for split, part in (("train", pairs), ("valid", pairs[:40]), ("test", pairs[40:60])):
        for side, lang in enumerate(("en", "de")):
            write_lines(str(directory / "raw" / f"{split}.{lang}"), [pair[side] for pair in part])
    for split, part in (("train", TEXTS), ("valid", TEXTS[:4])):
        write_lines(str(directory / "raw" / f"{split}.tsv"), part)
        lines = (f"{word}\t{tag}" if word else "" for word, tag in TAGGED)
        write_lines(str(directory / "raw" / f"{split}.conll"), lines)
    write_lines(str(directory / "raw" / "sentences.txt"), ["Ada lived in London.", "It rained."])
    write_spans(str(directory / "raw"))
    write_lines(str(directory / "raw" / "questions.tsv"), ["Where?\tAda lived in London."])
    write_distributions(directory)
    return directory


def write_distributions(directory):
    """Two reviews of IMDB and two pairs of SNLI, as the distributed corpora have them."""
    for label in ("pos", "neg"):
        folder = directory / "aclImdb" / "train" / label
        folder.mkdir(parents=True)
        (folder / "0_9.txt").write_text(f"Quite\t{label}.<br /><br />Yes.")  # no line end
    write_lines(str(directory / "aclImdb" / "imdb.vocab"), ["the", "a"] * 50)
    names = ["gold_label", *(f"parse{number}" for number in range(4)), "sentence1", "sentence2"]
    pairs = [["neutral", *"abcd", "A dog's tail.", "It is BIG!"], ["-", *"abcd", "No.", "Yes."]]
    for split in ("train", "dev"):
        lines = ["\t".join([*line, "1.jpg#4"]) for line in (names, *pairs)]
        write_lines(str(directory / "snli_1.0" / f"snli_1.0_{split}.txt"), lines)


def run_page(page, checkout, command, done=()):
    run = [command for command in commands(page) if not elsewhere(command)]
    run = [command for command in run if command not in done]
    assert run, f"{page} has no command to run"
    for pattern, change in CHANGES:
        run = [re.sub(pattern, change, command) for command in run]
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SERVE + "set -x\n" + "\n".join(run)],
        cwd=checkout,
        env=command.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    return result.stdout


@pytest.fixture(scope="module")
def trained(checkout, command):
    """README's commands, then those of the page on one's own data."""
    run_page(ROOT / "README.md", checkout, command)
    assert (checkout / "translations.de").read_text().count("\n") == 20
    run_before = commands(ROOT / "README.md")
    prepared = [command for command in run_before if command.startswith("fairseq-lrn prepare")]
    assert len(prepared) == 1
    shutil.rmtree(checkout / "checkpoints")
    output = run_page(ROOT / "docs" / "your_data.md", checkout, command, prepared)
    assert re.search(r"BLEU\|nrefs:1\|.* = [\d.]+", output)
    assert (checkout / "test.out.de").read_text().count("\n") == 20
    return checkout


pytestmark = pytest.mark.xdist_group("docs")
RUN = [page for page in PAGES if any(not elsewhere(command) for command in commands(page))]
TESTED_BELOW = (
    *("README.md", "your_data.md", "language_models.md", "classification.md", "tagging.md"),
    "reading.md",
)
OTHERS = [page for page in RUN if page.name not in TESTED_BELOW]


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_commands(trained, command, page):
    run_page(page, trained, command)


def test_python(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    scope = {}
    shown = [*blocks(ROOT / "README.md", "python")]
    shown += [block for block in blocks(ROOT / "docs" / "python.md", "python")]
    shown = [block for block in shown if "torch.manual_seed" not in block]
    assert len(shown) == 5
    for block in shown:
        exec(block, scope)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1] == lines[-1]  # the same sentence
    assert len(lines) == 1 + 2 + 2 * 3 + 1


def test_language_model_in_python(trained, command, monkeypatch, capsys):
    run_page(ROOT / "docs" / "language_models.md", trained, command)
    monkeypatch.chdir(trained)
    (block,) = blocks(ROOT / "docs" / "language_models.md", "python")
    exec(block, {})
    perplexity, scores, text = capsys.readouterr().out.split("\n", 2)
    assert float(perplexity) > 1 and scores.startswith("[-") and len(text.split()) > 3
    assert (trained / "scores.txt").read_text().count("\n") == 40
    assert (trained / "fused.out").read_text().count("\nH-") == 20


@pytest.mark.parametrize(
    "name, written, num_lines",
    [
        ("classification", {"labels.tsv": 4, "labels.jsonl": 4}, 3),
        ("tagging", {"again.conll": len(TAGGED) + 1, "entities.jsonl": 2}, 2),
        ("reading", {"answers.tsv": 1, "answers.json": 1}, 3),
    ],
)
def test_labelled_text(trained, command, monkeypatch, capsys, name, written, num_lines):
    page = ROOT / "docs" / f"{name}.md"
    output = run_page(page, trained, command)
    metric = {"classification": "accuracy", "tagging": "f1", "reading": "f1"}[name]
    assert re.search(rf"valid on 'valid' subset .*{metric} [\d.]+", output)
    for file, count in written.items():
        assert (trained / file).read_text().count("\n") == count, file
    monkeypatch.chdir(trained)
    (block,) = blocks(page, "python")
    exec(block, {})
    assert len(capsys.readouterr().out.splitlines()) >= num_lines
    if name == "classification":
        reviews = (trained / "imdb.tsv").read_text().splitlines()
        assert sorted(reviews) == [f"{label}\tQuite {label}.  Yes." for label in ("neg", "pos")]
        for split in ("train", "valid"):
            pair = (trained / "snli-raw" / f"{split}.tsv").read_text()
            assert pair == "neutral\ta dogs tail\tit is big\n"


def test_classification(capsys):
    page = ROOT / "docs" / "python.md"
    (block,) = [block for block in blocks(page, "python") if "torch.manual_seed" in block]
    scope = {}
    exec(block, scope)
    assert scope["accuracy"] > 0.95
    assert "% of new sentences" in capsys.readouterr().out
    # What it shows is that order matters, so without the recurrence it cannot be told.
    assert 0.4 < scope["dog_first"].mean().item() < 0.6


@pytest.mark.parametrize(
    "config, page",
    [
        (LRNConfig, "model"),
        (TransformerLRNConfig, "model"),
        (RNMTConfig, "paper"),
        (FusedLabelSmoothedCrossEntropyConfig, "training"),
        (LanguageModelCrossEntropyConfig, "language_models"),
        (LRNClassifierConfig, "classification"),
        (LRNPairClassifierConfig, "classification"),
        (TextClassificationConfig, "classification"),
        (LRNTaggerConfig, "tagging"),
        (SpanPredictionConfig, "reading"),
        (AveragedSGDConfig, "language_models"),
    ],
)
def test_every_option(config, page):
    check_options(config, (ROOT / "docs" / f"{page}.md").read_text())


def test_every_option_of_readers():
    """The page refers to that of taggers for most options."""
    pages = ((ROOT / "docs" / f"{page}.md").read_text() for page in ("reading", "tagging"))
    check_options(LRNReaderConfig, "".join(pages))


def check_options(config, text):
    for field in dataclasses.fields(config):
        if field.metadata.get("help") and field.name not in ("weight_decay", "data"):
            assert f"`--{field.name.replace('_', '-')}`" in text, field.name


MODELS = "model", "language_models", "classification", "tagging", "reading"


def test_every_architecture():
    from fairseq.models import ARCH_MODEL_REGISTRY

    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in MODELS)
    registry = ARCH_MODEL_REGISTRY.items()
    ours = [name for name, model in registry if model.__module__.startswith("fairseq_lrn")]
    assert len(ours) > 10
    for name in ours:
        assert f"`{name}`" in text or f"`{name.split('_')[0]}_...`" in text, name


def test_messages():
    """What the page lists is what the code says."""
    text = (ROOT / "docs" / "your_data.md").read_text().split("## Common errors")[1]
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][2:]
    sources = [*(ROOT / "fairseq_lrn").rglob("*.py"), *(ROOT / "scripts").glob("*")]
    code = "\n".join(path.read_text() for path in sources if path.is_file())
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message over several lines
    said = [text for row in rows for text in re.findall("`(.*?)`", row) if "--" not in text[:3]]
    pieces = [piece.strip() for text in said for piece in text.split("…")]
    assert len(pieces) > 10
    for piece in filter(None, pieces):
        assert piece in code, piece


@pytest.fixture(scope="module")
def built(command, tmp_path_factory):
    """The pages, built without a warning (a dead link is one)."""
    pytest.importorskip("sphinx")
    directory = tmp_path_factory.mktemp("html")
    command("python", "-m", "sphinx", "-W", "--keep-going", "-q", "docs", directory)
    return directory


def test_pages(built):
    """The pages work offline."""
    assert "load_translator" in (built / "api.html").read_text()
    assert "Contributing" in (built / "contributing.html").read_text()
    for page in built.rglob("*.html"):
        # Links may lead to other sites, but a page may load nothing from them.
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"([^\"]+)", page.read_text()
        )
        assert [address for address in loaded if re.match("(https?:)?//", address)] == [], page
    for style in built.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text()), style


CUT_OFF = """
[...document.querySelectorAll("article, article *")]
    .filter((node) => node.scrollWidth > node.clientWidth + 1)
    .filter((node) => getComputedStyle(node).overflowX !== "visible")
    .map((node) => node.innerText)
"""


def test_nothing_is_cut_off(built, browser):
    """In a window of 1280 pixels, nobody has to scroll to the right to read code or a table."""
    view = browser.new_page(viewport={"width": 1280, "height": 800})
    for page in sorted(built.glob("*.html")):
        view.goto(page.as_uri())
        assert view.evaluate(CUT_OFF) == [], page
        assert view.evaluate("document.documentElement.scrollWidth") <= 1280, page
    view.close()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout of git")
def test_git_ignores_what_commands_write(trained):
    names = [path.name + "/" * path.is_dir() for path in trained.iterdir() if not path.is_symlink()]
    assert len(names) > 10
    result = subprocess.run(
        ["git", "check-ignore", "--no-index", *names], cwd=ROOT, capture_output=True, text=True
    )
    assert set(names) - set(result.stdout.splitlines()) == set()
