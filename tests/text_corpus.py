"""A small text for tests of language models."""

import torch
from fairseq import options
from fairseq_cli import preprocess as fairseq_preprocess

WORDS = "a b c d e f g h".split()


def write_text(path, lines, seed):
    """Write lines of random words."""
    generator = torch.Generator().manual_seed(seed)
    with open(path, "w") as file:
        for _ in range(lines):
            count = int(torch.randint(1, 9, (), generator=generator))
            picked = torch.randint(len(WORDS), (count,), generator=generator)
            file.write(" ".join(WORDS[index] for index in picked) + "\n")


def preprocess(*arguments):
    """Run ``fairseq-preprocess --only-source`` in this process."""
    parser = options.get_preprocessing_parser()
    given = ["--only-source", "--padding-factor", "1", *map(str, arguments)]
    fairseq_preprocess.main(parser.parse_args(given))


def binarised_text(directory):
    """Binarise a training text and a validation text; returns the directory of the data."""
    write_text(directory / "train.txt", 120, 1)
    write_text(directory / "valid.txt", 30, 2)
    preprocess(
        *("--trainpref", directory / "train.txt", "--validpref", directory / "valid.txt"),
        *("--destdir", directory / "bin"),
    )
    return directory / "bin"
