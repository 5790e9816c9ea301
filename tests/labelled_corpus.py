"""Small labelled texts, prepared with ``fairseq-lrn prepare-labelled``, and untrained models."""

import json
import random
from pathlib import Path

from fairseq_lrn.data.labelled_options import LabelledOptions
from fairseq_lrn.data.prepare_labelled import prepare_labelled
from fairseq_lrn.data.text_files import keep
from toy_checkpoints import save_checkpoint

REVIEWS = {
    "train": [
        "good\ta fine film with a fine plot",
        "bad\tdull",
        "good\ta plot to remember",
        "bad\ta dull film , far too long",
    ],
    "valid": ["bad\ta long and dull story", "good\tfine"],
}
PAIRS = {
    "train": [
        "same\ta dog sleeps\tan animal sleeps",
        "other\ta dog runs\ta cat sleeps",
        "same\ta cat\tan animal",
    ],
    "valid": ["other\ta dog sleeps\tit runs"],
}
TAGGED = {
    "train": "Ada B-PER\nlives O\nin O\nParis B-LOC\n\n"
    "Maria B-PER\nde I-PER\nSouza I-PER\nruns O\n\n"
    "Paul B-PER\nKlee I-PER\npaints O\n",
    "valid": "Maria B-PER\nKlee I-PER\nin O\nRome B-LOC\n\nruns O\n",
}


def reviews(directory: Path) -> Path:
    """Data of texts with the labels ``good`` and ``bad``."""
    return _prepare(directory, "text", {s: "\n".join(lines) for s, lines in REVIEWS.items()})


def pairs(directory: Path) -> Path:
    """Data of pairs of texts with the labels ``same`` and ``other``."""
    return _prepare(directory, "pair", {s: "\n".join(lines) for s, lines in PAIRS.items()})


def tagged(directory: Path) -> Path:
    """Data of texts with the entities PER and LOC."""
    return _prepare(directory, "tags", TAGGED)


NAMES = "Ada Ben Cleo Dan Eve Finn Gus Hana Ivo Jane".split()
PLACES = ["Paris", "Rome", "New York", "Oslo", "Rio de Janeiro", "Bonn", "St. Ives", "Lima"]


def write_spans(directory: str, seed: int = 1) -> None:
    """Write questions in SQuAD's format: ``train.json`` with 60 and ``valid.json`` with 12.

    Each context says where three people live, and each question asks for one of them.
    """
    dice = random.Random(seed)
    for split, number in (("train", 20), ("valid", 4)):
        paragraphs = [_paragraph(f"{split}{index}", dice) for index in range(number)]
        file = {"version": "1.1", "data": [{"title": "People", "paragraphs": paragraphs}]}
        Path(directory, f"{split}.json").write_text(json.dumps(file))


def _paragraph(name: str, dice: random.Random):
    context, questions = "", []
    for index, (person, place) in enumerate(zip(dice.sample(NAMES, 3), dice.sample(PLACES, 3))):
        context += f"{person} lives in "
        answer = {"text": place, "answer_start": len(context)}
        context += f"{place}.\n" if index == 1 else f"{place}. "
        question = f"Where does {person} live?"
        questions.append({"id": f"{name}-{index}", "question": question, "answers": [answer]})
    return {"context": context, "qas": questions}


def questions(directory: Path) -> Path:
    """Data of questions about contexts."""
    write_spans(str(directory))
    return _prepare_files(directory, "spans", "json")


MODELS = {
    "reviews": "--task text_classification --arch lrn_classifier --character-encoder max",
    "pairs": "--task text_classification --arch lrn_pair_classifier",
    "tagged": "--task sequence_tagging --arch lrn_tagger --character-hidden-size 4",
    "questions": "--task span_prediction --arch lrn_reader --character-hidden-size 4",
}


def untrained_model(directory: Path, name: str) -> Path:
    """The directory of checkpoints of an untrained model of the data *name*."""
    data = {"reviews": reviews, "pairs": pairs, "tagged": tagged, "questions": questions}[name](
        directory
    )
    checkpoints = directory / "checkpoints"
    task, *model = MODELS[name].split(" --arch ")
    sizes = "--word-embed-dim 8 --hidden-size 6 --character-embed-dim 4".split()
    save_checkpoint(
        checkpoints / "checkpoint_last.pt",
        data,
        *task.split(),
        model=["--arch", *model[0].split(), *sizes],
    )
    keep(str(data), str(checkpoints))
    return checkpoints


def _prepare(directory: Path, kind: str, texts) -> Path:
    suffix = "txt" if kind == "tags" else "tsv"
    for split, text in texts.items():
        (directory / f"{split}.{suffix}").write_text(text + "\n")
    return _prepare_files(directory, kind, suffix)


def _prepare_files(directory: Path, kind: str, suffix: str) -> Path:
    prepare_labelled(
        LabelledOptions(
            kind=kind,
            trainpref=str(directory / f"train.{suffix}"),
            validpref=str(directory / f"valid.{suffix}"),
            destdir=str(directory / "data"),
        )
    )
    return directory / "data"
