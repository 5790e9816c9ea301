"""Translate with CTranslate2 and print the speed. ``generation_speed.py`` runs this file."""

import json
import sys
import time

import ctranslate2


def main(model: str, lines: str, batch_size: int, beam: int, threads: int) -> None:
    """Translate and print ``{"speed": sentences per second, "translations": lists of tokens}``.

    Args:
        model: directory of a model converted by CTranslate2's tool.
        lines: JSON file with two lists, the sources and the references; a sentence is a list of
            tokens.
        batch_size: sentences per batch; the shortest sentences go first, as in fairseq.
        beam: beam size.
        threads: number of threads.
    """
    with open(lines, encoding="utf-8") as file:
        sources = json.load(file)[0]
    translator = ctranslate2.Translator(model, inter_threads=1, intra_threads=threads)
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    translations = [None] * len(sources)
    translator.translate_batch([sources[0]], beam_size=beam)
    started = time.perf_counter()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        results = translator.translate_batch(
            [sources[index] for index in batch], beam_size=beam, max_decoding_length=200
        )
        for index, result in zip(batch, results):
            translations[index] = result.hypotheses[0]
    speed = len(sources) / (time.perf_counter() - started)
    print(json.dumps({"speed": speed, "translations": translations}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
