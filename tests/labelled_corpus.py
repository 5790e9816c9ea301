"""Small labelled texts, prepared with ``fairseq-lrn prepare-labelled``, and untrained models."""

from pathlib import Path

from fairseq_lrn.data.prepare_labelled import LabelledOptions, prepare_labelled
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


MODELS = {
    "reviews": "--task text_classification --arch lrn_classifier --character-encoder max",
    "pairs": "--task text_classification --arch lrn_pair_classifier",
    "tagged": "--task sequence_tagging --arch lrn_tagger --character-hidden-size 4",
}


def untrained_model(directory: Path, name: str) -> Path:
    """The directory of checkpoints of an untrained model of the data *name*."""
    data = {"reviews": reviews, "pairs": pairs, "tagged": tagged}[name](directory)
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
    files = {}
    for split, text in texts.items():
        files[split] = directory / f"{split}.{suffix}"
        files[split].write_text(text + "\n")
    prepare_labelled(
        LabelledOptions(
            kind=kind,
            trainpref=str(files["train"]),
            validpref=str(files["valid"]),
            destdir=str(directory / "data"),
        )
    )
    return directory / "data"
