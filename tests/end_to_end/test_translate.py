"""Raw text in, raw text out: from Python, from the hub, with fairseq-lrn; and pictures of it."""

import os
import shutil
import subprocess

import pytest
import torch

from fairseq_lrn import LRNModel, load_translator
from fairseq_lrn.analysis import plots
from fairseq_lrn.analysis.memory import memory
from fairseq_lrn.data import text_files
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.linear import can_pack

LINES = 40


@pytest.fixture(scope="module")
def moved(quickstart, tmp_path_factory):
    """The checkpoints alone, away from the data."""
    directory = tmp_path_factory.mktemp("moved") / "checkpoints"
    shutil.copytree(quickstart[0] / "checkpoints", directory)
    return directory


@pytest.fixture(scope="module")
def translator(moved):
    return load_translator(str(moved))


@pytest.fixture(scope="module")
def source(quickstart):
    return (quickstart[0] / "raw" / "test.en").read_text().splitlines()[:LINES]


@pytest.fixture(scope="module")
def expected(quickstart):
    """What fairseq-generate and score.sh made of the same sentences."""
    return (quickstart[0] / "generate-test.txt.detok").read_text().splitlines()[:LINES]


@pytest.fixture
def run(moved, root, warm):
    def run(*arguments, text="", ok=True):
        python = warm.stand_ins / "python"
        command = [python, "-m", "fairseq_lrn", "translate", *map(str, arguments)]
        result = subprocess.run(
            command, input=text.encode(), capture_output=True, cwd=root, env=os.environ
        )
        assert (result.returncode == 0) == ok, result.stderr.decode()[-2000:]
        return result.stdout.decode() if ok else result.stderr.decode()

    return run


def test_as_fairseq_generate(translator, source, expected):
    assert translator(source) == expected
    assert translator(source, batch_size=1) == expected
    assert translator(source[3]) == expected[3]


def test_hub(moved, source, expected):
    model = LRNModel.from_pretrained(str(moved))
    assert model.translate(source) == expected


def test_opposite_direction(fairseq, toy_data, tmp_path):
    """A model from de to en, on data that were prepared from en to de."""
    options = ["--optimizer", "adam", "--lr", "0.001", "--max-tokens", "4096", "--max-update", "1"]
    checkpoints = str(tmp_path / "checkpoints")
    fairseq(
        *("train", toy_data, "-s", "de", "-t", "en", "--arch", "lrn_tiny", *options),
        *("--save-dir", checkpoints),
    )
    translator, model = load_translator(checkpoints), LRNModel.from_pretrained(checkpoints)
    for text, task in ((translator.raw, translator.task), (model.bpe.raw, model.task)):
        assert (text.source_lang, text.target_lang) == ("de", "en")
        assert (task.cfg.source_lang, task.cfg.target_lang) == ("de", "en")
    assert isinstance(translator("der Hund"), str)


def test_more_than_texts(translator, source):
    (found,) = translator.hypotheses(source[:1], nbest=3, attention=True)
    assert len({translation.text for translation in found}) == 3
    assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)
    for translation in found:
        rows, columns = len(translation.words), len(translation.source_words)
        assert translation.attention.shape == (rows + 1, columns + 1)
        torch.testing.assert_close(translation.attention.sum(1), torch.ones(rows + 1))
        assert [target for _, target in translation.alignment] == list(range(rows))
        assert all(0 <= position < columns for position, _ in translation.alignment)
        pieces = sum(translation.positional_scores)
        assert len(translation.positional_scores) == rows + 1 and pieces < 0
        # The score is a mean over pieces, of which there are at least as many as words.
        assert abs(translation.score) <= abs(pieces) / (rows + 1) + 1e-6
    # Attention is asked for; before and after, the search is ours.
    (again,) = translator.hypotheses(source[:1])
    assert again[0].text == found[0].text and again[0].attention is None
    with pytest.raises(InputError, match="ask for attention"):
        again[0].alignment  # noqa: B018


def test_ensemble(moved, source, expected):
    path = str(moved / "checkpoint_best.pt")
    assert load_translator(f"{path}:{path}")(source[:5]) == expected[:5]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_products_in_fewer_bits(moved, translator, source, dtype, caplog):
    if not can_pack(getattr(torch, dtype)):
        load_translator(str(moved), dtype=dtype)(source[0])
        assert f"--generation-dtype {dtype} has no effect" in caplog.text
        return
    rounded = load_translator(str(moved), dtype=dtype)
    score = rounded.hypotheses(source[:1])[0][0].score
    assert 0 < abs(score - translator.hypotheses(source[:1])[0][0].score) < 0.1
    assert sum(map(str.__eq__, rounded(source), translator(source))) > 0.8 * LINES


def test_empty_and_odd_lines(translator, source, expected):
    odd = ["", source[0], " \t\r\n", f"  {source[1]}\r", "\u2581", "\U0001f600 \u0000 zz"]
    found = translator(odd)
    assert found[:4] == ["", expected[0], "", expected[1]]
    assert len(found) == len(odd)


def test_wrong_use(translator, moved, tmp_path, quickstart):
    for options, message in (
        ({"beam": 0}, "beam must be a number from 1 on, not 0"),
        ({"nbest": 6}, "nbest=6 needs a beam at least as wide, not beam=5"),
        ({"batch_size": "x"}, "batch_size must be a number"),
        ({"beams": 5}, "beams is no option of fairseq's generation; those are: beam, "),
        ({"lenpen": "long"}, "options of generation: .*long"),
    ):
        with pytest.raises(InputError, match=message):
            translator.hypotheses(["a"], **options)
    with pytest.raises(InputError, match="give a list"):
        translator.hypotheses("a")
    with pytest.raises(InputError, match="sentence 2 is no string but int"):
        translator(["a", 3])
    with pytest.raises(InputError, match=r"sentence 2 has \d+ pieces, the model takes \d+: split"):
        translator(["a", "dog " * 2000])
    with pytest.raises(InputError, match="has no averaged.pt, checkpoint_best.pt or checkpoint_l"):
        load_translator(str(tmp_path))
    with pytest.raises(InputError, match="cannot read checkpoint .*none.pt"):
        load_translator(str(moved), checkpoint="none.pt")
    with pytest.raises(InputError, match="dtype must be one of float32, bfloat16, int8, not int4"):
        load_translator(str(moved), dtype="int4")
    with pytest.raises(InputError, match="device 'toaster' cannot be used"):
        load_translator(str(moved), device="toaster")
    # Checkpoints of a training that knew nothing of this; their data are where they were.
    for name in text_files.files(str(moved)):
        shutil.copy(moved / name, tmp_path)
    checkpoint = tmp_path / "only" / "checkpoint_best.pt"
    checkpoint.parent.mkdir()
    shutil.copy(moved / "checkpoint_best.pt", checkpoint)
    assert load_translator(str(checkpoint.parent))("") == ""
    state = torch.load(checkpoint)
    state["cfg"]["task"]["data"] = "/nowhere"
    torch.save(state, checkpoint)
    with pytest.raises(InputError, match="only and /nowhere have no prepare.json"):
        load_translator(str(checkpoint.parent))
    assert load_translator(str(checkpoint), data=str(tmp_path))("") == ""


def test_command(run, moved, source, expected, tmp_path):
    text = "\n".join([*source[:3], "", source[3]])
    assert run(moved, text=text).splitlines() == [*expected[:3], "", expected[3]]
    # Files, in order, to a file; a few lines at a time.
    for name, lines in (("first", source[:3]), ("second", source[3:5])):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    arguments = [tmp_path / "first", tmp_path / "second", "--buffer-size", 2]
    assert run(moved, *arguments, "--output", tmp_path / "out") == ""
    assert (tmp_path / "out").read_text().splitlines() == expected[:5]
    fields = [
        line.split("\t")
        for line in run(moved, "--nbest", 2, "--scores", "--alignment", text=text).splitlines()
    ]
    assert [row[0] for row in fields] == list("001122344")
    assert [row[2] for row in fields[::2]][:3] == expected[:3]
    assert float(fields[0][1]) > float(fields[1][1])
    assert len(run(moved, "--generation-dtype", "int8", text=text).splitlines()) == 5
    assert all("-" in pair for pair in fields[0][3].split())


def test_command_with_wrong_input(run, moved, source, tmp_path):
    assert "cannot read nowhere: No such file" in run(moved, "nowhere", ok=False)
    (tmp_path / "latin").write_bytes(b"a\nB\xe4r\n")
    output = tmp_path / "out"
    output.write_text("earlier\n")
    message = run(moved, tmp_path / "latin", "--output", output, "--buffer-size", 1, ok=False)
    assert "latin is not UTF-8 (line 2)" in message
    assert output.read_text() == "earlier\n"
    long = "\n".join([source[0]] * 3 + ["dog " * 2000])
    assert "error: sentence 4 has" in run(moved, "--buffer-size", 2, text=long, ok=False)


def test_pictures(command, translator, moved, quickstart, source, expected, tmp_path):
    arguments = ["attention", moved, source[0], "--output", tmp_path / "attention.png"]
    assert expected[0] in command("python", "scripts/plot.py", *arguments)
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    seen = memory(translator, source[0], backward=True)
    plots.draw_memory(seen, str(tmp_path / "memory.svg"))
    assert "<svg" in (tmp_path / "memory.svg").read_text()
    log = str(quickstart[0] / "train.log")
    plots.draw_curves([log, str(quickstart[0])], str(tmp_path / "curves.pdf"))
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    picture = str(tmp_path / "picture.png")
    for call, message in (
        (lambda: memory(translator, source[0], layer=2), "1 layers of LRN, so there is"),
        (lambda: memory(translator, " "), "the sentence is empty"),
        (lambda: plots.draw_curves([str(tmp_path)], picture), "cannot read .*train.log"),
        (lambda: plots.draw_curves([log], picture, "bleu"), "has no bleu, but .*nll_loss"),
        (lambda: plots.draw_curves([log], "picture.txt"), "must end in one of .png"),
        (lambda: plots.draw_curves([log], str(tmp_path / "no" / "x.png")), "cannot write"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_names_tell_curves_apart():
    assert plots.distinct_names(["a/lrn-1/train.log", "a/lrn-2"]) == ["lrn-1", "lrn-2"]
    paths = ["a/lrn-1/train.log", "b/lrn-1"]
    assert plots.distinct_names(paths) == ["a/lrn-1", "b/lrn-1"]


def test_memory_is_that_of_the_recurrence(translator, source):
    seen = memory(translator, source[0])
    size = len(seen.pieces)
    assert seen.weights.shape == seen.long_term.shape == (size, size)
    assert not seen.weights.triu(1).any() and (seen.weights.diagonal() > 0).all()
    torch.testing.assert_close(seen.weights.diagonal(), seen.short_term)
    backward = memory(translator, source[0], backward=True)
    assert not backward.weights.tril(-1).any() and (backward.weights.diagonal() > 0).all()
