"""From raw parallel text to data that ``fairseq-train`` reads.

Moses normalisation and tokenisation (sacremoses), optional lower-casing, cleaning, joint
BPE (sentencepiece), optionally with a vocabulary for each language, ``fairseq-preprocess``.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing import Pool
from typing import Dict, Iterator, List, Optional, Set, Tuple

import sentencepiece
from fairseq.data import Dictionary

from fairseq_lrn.data.parallel import read_pair, write_lines
from fairseq_lrn.data.raw_text import RECORD, SENTENCEPIECE_MODEL, read_record, restrict
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Tokenizer
from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)

ENCODED_AT_ONCE = 100_000  # lines


@dataclass
class PrepareOptions:
    """What :func:`prepare` does; the fields are the options of ``scripts/prepare_text.py``."""

    source_lang: str
    target_lang: str
    trainpref: Optional[str] = None
    validpref: Optional[str] = None
    testpref: List[str] = field(default_factory=list)
    destdir: str = "data-bin"
    vocab_size: int = 8000
    bpe_merges: Optional[int] = None
    vocab_threshold: int = 0
    lowercase: bool = False
    tokenize: bool = True
    max_length: int = 175
    max_ratio: float = 3.0
    vocab_from: Optional[str] = None
    workers: int = 1


def prepare(options: PrepareOptions) -> None:
    """Prepare a corpus into ``options.destdir``, which must not exist yet.

    Everything is made in a directory beside it, which takes its name only when all is done.
    It holds the binarised data and dictionaries, the BPE model, ``text/`` with the tokenised
    (``.tok``) and segmented (``.bpe``) text, and a record of the options.

    Raises:
        InputError: input that cannot be used, or *destdir* exists.
    """
    if os.path.exists(options.destdir):
        raise InputError(f"{options.destdir} exists already: remove it or choose another --destdir")
    if options.trainpref is None and options.vocab_from is None:
        raise InputError("give --trainpref, or --vocab-from with data prepared earlier")
    if options.bpe_merges is not None and options.bpe_merges < 1:
        raise InputError(f"--bpe-merges must be at least 1, not {options.bpe_merges}")
    if options.vocab_from is not None and (options.bpe_merges or options.vocab_threshold):
        raise InputError(
            "--vocab-from takes BPE and dictionaries as they are: leave out --bpe-merges and "
            "--vocab-threshold"
        )
    if options.vocab_threshold < 0:
        raise InputError(f"--vocab-threshold must be at least 0, not {options.vocab_threshold}")
    if options.workers < 1:
        raise InputError(f"--workers must be at least 1, not {options.workers}")
    if "," in options.destdir:
        raise InputError(f"--destdir {options.destdir} has a comma, which fairseq takes for a list")
    if options.vocab_from is not None:
        _check_vocab(options, options.vocab_from)
    splits = read_splits(options)

    working = options.destdir.rstrip("/") + ".incomplete"
    shutil.rmtree(working, ignore_errors=True)
    try:
        os.makedirs(os.path.join(working, "text"))
    except OSError as error:
        raise InputError(f"cannot make {working}: {error.strerror or error}") from error
    try:
        _prepare_into(working, splits, options)
        os.rename(working, options.destdir)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def read_splits(options: PrepareOptions) -> Dict[str, Tuple[List[str], List[str]]]:
    """Read every split before anything is written: ``train``, ``valid``, ``test``, ``test1``..."""
    prefixes = {}
    if options.trainpref:
        prefixes["train"] = options.trainpref
    if options.validpref:
        prefixes["valid"] = options.validpref
    for index, prefix in enumerate(options.testpref):
        prefixes[f"test{index or ''}"] = prefix
    return {
        split: read_pair(prefix, options.source_lang, options.target_lang)
        for split, prefix in prefixes.items()
    }


def _check_vocab(options: PrepareOptions, directory: str) -> None:
    for name in (
        SENTENCEPIECE_MODEL,
        f"dict.{options.source_lang}.txt",
        f"dict.{options.target_lang}.txt",
    ):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            raise InputError(
                f"{path} is missing: --vocab-from must be a directory that prepare_text.py made "
                f"for {options.source_lang}-{options.target_lang}"
            )
    record = read_record(directory)
    options.vocab_threshold = record.get("vocab_threshold", 0)
    for name in ("lowercase", "tokenize"):
        if record.get(name) != getattr(options, name):
            raise InputError(
                f"{directory} was prepared with {name}={record.get(name)}, but this is "
                f"{name}={getattr(options, name)}: prepare both the same way"
            )


def _prepare_into(working: str, splits, options: PrepareOptions) -> None:
    languages = (options.source_lang, options.target_lang)
    text = os.path.join(working, "text")
    with Pool(options.workers) as pool:
        for split, pair in splits.items():
            logger.info("%s: %d pairs: normalise and tokenise", split, len(pair[0]))
            source, target = (
                pool.map(Tokenizer(lang, options.tokenize, options.lowercase), lines, 500)
                for lang, lines in zip(languages, pair)
            )
            if split == "train":
                source, target = clean(source, target, options.max_length, options.max_ratio)
            splits[split] = source, target
            for lang, lines in zip(languages, (source, target)):
                write_lines(os.path.join(text, f"{split}.tok.{lang}"), lines)

    model = os.path.join(working, SENTENCEPIECE_MODEL)
    if options.vocab_from is None:
        train_bpe(
            [os.path.join(text, f"train.tok.{lang}") for lang in languages],
            model,
            options.vocab_size,
            options.bpe_merges,
        )
    else:
        shutil.copy(os.path.join(options.vocab_from, SENTENCEPIECE_MODEL), model)
    try:
        bpe = sentencepiece.SentencePieceProcessor(model_file=model)
    except RuntimeError as error:
        raise InputError(
            f"{options.vocab_from}/{SENTENCEPIECE_MODEL} is damaged: {error}"
        ) from error
    for side, lang in enumerate(languages):
        segment = bpe
        if options.vocab_threshold > 0:
            segment = restrict(bpe, _vocabulary(bpe, splits, side, lang, options))
        for split, pair in splits.items():
            pieces = encode(segment, pair[side], options.workers)
            write_lines(os.path.join(text, f"{split}.bpe.{lang}"), map(" ".join, pieces))
    preprocess(working, splits, options)
    record = asdict(options)
    with open(os.path.join(working, RECORD), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True)
        file.write("\n")


def _vocabulary(bpe, splits, side: int, lang: str, options: PrepareOptions) -> Set[str]:
    """The pieces of one language that may be used."""
    if options.vocab_from is not None:
        path = os.path.join(options.vocab_from, f"dict.{lang}.txt")
        return set(Dictionary.load(path).symbols)
    counts: Counter[str] = Counter()
    for pieces in encode(bpe, splits["train"][side], options.workers):
        counts.update(pieces)
    kept = {piece for piece, count in counts.items() if count >= options.vocab_threshold}
    logger.info(
        "%s: %d of %d pieces occur %d times", lang, len(kept), len(counts), options.vocab_threshold
    )
    return kept


def encode(
    bpe: sentencepiece.SentencePieceProcessor, lines: List[str], workers: int
) -> Iterator[List[str]]:
    """The pieces of each line; those of a large corpus would not fit into memory at once."""
    for start in range(0, len(lines), ENCODED_AT_ONCE):
        block = lines[start : start + ENCODED_AT_ONCE]
        yield from bpe.encode(block, out_type=str, num_threads=workers)


def clean(
    source: List[str], target: List[str], max_length: int, max_ratio: float
) -> Tuple[List[str], List[str]]:
    """Drop pairs with an empty or too long side, or with too different lengths.

    Args:
        source, target: tokenised lines.
        max_length: longest sentence kept, in tokens.
        max_ratio: largest ratio of the two lengths kept.

    Raises:
        InputError: nothing is left.
    """
    kept = []
    for pair in zip(source, target):
        shorter, longer = sorted(len(line.split()) for line in pair)
        if shorter > 0 and longer <= max_length and longer <= max_ratio * shorter:
            kept.append(pair)
    logger.info("cleaning: %d of %d pairs kept", len(kept), len(source))
    if not kept:
        raise InputError(
            f"cleaning dropped all {len(source)} training pairs: raise --max-length "
            f"({max_length}) or --max-ratio ({max_ratio}), and check that the files are aligned"
        )
    return [source for source, _ in kept], [target for _, target in kept]


def train_bpe(inputs: List[str], model: str, vocab_size: int, merges: Optional[int] = None) -> None:
    """Train a joint BPE model with sentencepiece and write it to *model*.

    Args:
        inputs: files of text.
        model: path of the model, ending in ``.model``.
        vocab_size: number of pieces, characters included.
        merges: instead, the number of merges; fewer if the text has no more.

    Raises:
        InputError: sentencepiece refuses, e.g. because the text is too small for *vocab_size*.
    """
    if merges is not None:
        characters: Set[str] = set()
        for path in inputs:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    characters.update(line)
        # Spaces are one character, line ends none; three pieces are sentencepiece's own.
        characters = (characters - {"\n", " "}) | {SENTENCEPIECE_SPACE}
        vocab_size = merges + len(characters) + 3
    logger.info("train joint BPE, %d pieces", vocab_size)
    prefix = model.removesuffix(".model")
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=inputs,
            model_prefix=prefix,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=merges is None,
            character_coverage=1.0,
            # The text is normalised already; any change here could not be undone.
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"sentencepiece cannot make {vocab_size} pieces from the training text: choose "
            f"another {'--vocab-size' if merges is None else '--bpe-merges'} ({error})"
        ) from error
    os.remove(prefix + ".vocab")


def preprocess(working: str, splits, options: PrepareOptions) -> None:
    """Run ``fairseq-preprocess`` on the segmented text of *splits* in *working*."""
    command = [sys.executable, "-m", "fairseq_cli.preprocess"]
    command += ["--source-lang", options.source_lang, "--target-lang", options.target_lang]
    command += ["--destdir", working, "--workers", str(options.workers)]
    text = os.path.join(working, "text")
    for split in ("train", "valid"):
        if split in splits:
            command += [f"--{split}pref", os.path.join(text, f"{split}.bpe")]
    tests = [os.path.join(text, f"{split}.bpe") for split in splits if split.startswith("test")]
    if tests:
        command += ["--testpref", ",".join(tests)]
    if options.vocab_from is None:
        command += ["--joined-dictionary"] if options.vocab_threshold == 0 else []
    else:
        for side, lang in (("src", options.source_lang), ("tgt", options.target_lang)):
            command += [f"--{side}dict", os.path.join(options.vocab_from, f"dict.{lang}.txt")]
    logger.info("fairseq-preprocess")
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise InputError(f"fairseq-preprocess failed:\n{result.stderr.strip()[-2000:]}")
