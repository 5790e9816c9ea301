"""Tasks and batches of labelled text for tests of models."""

from types import SimpleNamespace

import torch
from fairseq.data import Dictionary


def dictionary_of(symbols):
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


def labelled_task(num_inputs=1, num_words=30, num_characters=12):
    """A task with words, characters, and the tags of two types of entities."""
    words = dictionary_of(f"word{number}" for number in range(num_words))
    characters = dictionary_of(chr(ord("a") + number) for number in range(num_characters))
    tags = ["O", *(f"{part}-{kind}" for kind in ("LOC", "PER") for part in "BIES")]
    return SimpleNamespace(
        source_dictionary=words,
        target_dictionary=words,
        character_dictionary=characters,
        label_dictionary=dictionary_of(tags),
        num_inputs=num_inputs,
        tags=tags,
        allowed_transitions=lambda: _iobes(tags),
    )


def _iobes(tags):
    starts = [tag[0] in "OBS" for tag in tags]
    ends = [tag[0] in "OES" for tag in tags]
    follows = [
        [
            (left[0] in "BI" and right[0] in "IE" and left[1:] == right[1:])
            or (left[0] in "OES" and right[0] in "OBS")
            for right in tags
        ]
        for left in tags
    ]
    return starts, follows, ends


def texts(task, lengths, left_pad=False, prefix="src", width=None):
    """A batch of random texts with the given numbers of words, the same for the same lengths."""
    width = max(lengths) if width is None else width
    tokens = torch.full((len(lengths), width), task.source_dictionary.pad())
    characters = torch.full((len(lengths), width, 6), task.character_dictionary.pad())
    for row, length in enumerate(lengths):
        draw = torch.Generator().manual_seed(100 * row + length)
        place = slice(width - length, width) if left_pad else slice(0, length)
        tokens[row, place] = torch.randint(4, 34, (length,), generator=draw)
        spelled = torch.randint(4, 16, (length, 6), generator=draw)
        ends = torch.randint(1, 7, (length, 1), generator=draw)
        spelled[torch.arange(6) >= ends] = task.character_dictionary.pad()
        characters[row, place] = spelled
    return {f"{prefix}_tokens": tokens, f"{prefix}_characters": characters}
