"""Prepare raw parallel text for ``fairseq-train``.

The steps: optional tokenisation with Moses (sacremoses) of the languages that Moses has rules for,
optional lower-casing, cleaning, a joint BPE (sentencepiece), optionally with a vocabulary for each
language, and ``fairseq-preprocess``.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import IO, Any, Collection, Dict, Iterable, Iterator, List, Optional, Set, Tuple

import sentencepiece
from fairseq.data import Dictionary

from fairseq_lrn.data.cleaning import clean, warn_of_overlap
from fairseq_lrn.data.languages import (
    DEFAULT_TOKENIZER,
    MOSES,
    NONE,
    TOKENIZERS,
    Policy,
    check_code,
    policy,
)
from fairseq_lrn.data.parallel import read_pair, write_lines
from fairseq_lrn.data.raw_text import load_bpe, restrict
from fairseq_lrn.data.round_trip import report_round_trip, sample
from fairseq_lrn.data.run_module import run_module
from fairseq_lrn.data.text_files import PARALLEL, SENTENCEPIECE_MODEL, moses_rules, write_json
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Tokenizer
from fairseq_lrn.data.workers import worker_pool
from fairseq_lrn.errors import InputError, command_failed

logger = logging.getLogger(__name__)

DEFAULT_VOCAB_SIZE = 8000
BPE_LINE = 1000  # characters
LOCK = "lock"  # a file that is locked while the data are prepared
ENCODED_AT_ONCE = 100_000  # lines

# The lines of both sides of each split: ``train``, ``valid``, ``test``, ``test1``, ...
Splits = Dict[str, Tuple[List[str], List[str]]]


@dataclass(frozen=True)
class PrepareOptions:
    """Options of :func:`prepare`, with the names that ``fairseq-lrn prepare`` gives them.

    Attributes:
        source_lang: source language, the suffix of the source files.
        target_lang: target language, the suffix of the target files.
        trainpref: prefix of the training files; required unless *vocab_from* is given.
        validpref: prefix of the validation files.
        testpref: prefixes of test files.
        destdir: directory to create.
        vocab_size: number of subwords of the joint BPE, characters included. None:
            :data:`DEFAULT_VOCAB_SIZE`.
        bpe_merges: number of BPE merges, in place of *vocab_size*.
        vocab_threshold: if above 0, make a dictionary for each language, of the subwords that occur
            at least this often in it, and split rarer subwords; 0: one dictionary for both.
        lowercase: lower-case both sides.
        tokenizer: ``moses`` to normalise and tokenise the languages that Moses has rules for, or
            ``none`` to learn subwords on the text as it is. None: as in *vocab_from*, or the
            default.
        max_length: longest training sentence that is kept, in words (tokens, if it is tokenised).
        max_ratio: largest ratio of the lengths of a training pair that is kept.
        vocab_from: directory of prepared data whose BPE and dictionaries are used. The options
            above that set their sizes are not allowed then.
        workers: number of processes.
    """

    source_lang: str
    target_lang: str
    trainpref: Optional[str] = None
    validpref: Optional[str] = None
    testpref: List[str] = field(default_factory=list)
    destdir: str = "data-bin"
    vocab_size: Optional[int] = None
    bpe_merges: Optional[int] = None
    vocab_threshold: int = 0
    lowercase: bool = False
    tokenizer: Optional[str] = None
    max_length: int = 175
    max_ratio: float = 3.0
    vocab_from: Optional[str] = None
    workers: int = 1

    @property
    def languages(self) -> Tuple[str, str]:
        """Source and target language."""
        return self.source_lang, self.target_lang


def prepare(options: PrepareOptions) -> None:
    """Prepare a corpus in ``options.destdir``, which must not exist yet.

    The directory holds the binarised data and dictionaries, the BPE model, ``text/`` with the
    tokenised (``.tok``) and segmented (``.bpe``) text, and a record of the options and of each
    language's policy. All of it is made in a temporary directory, which is renamed when it is
    complete.

    Raises:
        InputError: an option or a file cannot be used, or *destdir* exists.
    """
    check_options(options)
    if options.vocab_from is not None:
        check_earlier_data(options, options.vocab_from)
        options = with_earlier_options(options, options.vocab_from)
    with new_directory(options.destdir) as working:
        os.makedirs(os.path.join(working, "text"))
        _prepare_into(working, options)


@contextlib.contextmanager
def new_directory(destdir: str) -> Iterator[str]:
    """A temporary directory that becomes *destdir* if the context ends without an error.

    What a process that was killed has left in it is removed.

    Raises:
        InputError: it cannot be written, or another process prepares the same data.
    """
    # With the current directory before it, no command takes "-x" for an option.
    destdir = os.path.normpath(destdir)
    working = os.path.join(os.curdir, destdir + ".incomplete")
    try:
        os.makedirs(working, exist_ok=True)
        with open(os.path.join(working, LOCK), "w") as lock:
            _lock(lock, destdir)
            try:
                for entry in os.scandir(working):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    elif entry.name != LOCK:
                        os.remove(entry.path)
                yield working
            except BaseException:
                shutil.rmtree(working, ignore_errors=True)
                raise
            try:
                os.rename(working, destdir)
            except OSError as error:
                raise InputError(
                    f"cannot rename {working} to {destdir} ({error.strerror}): the data are "
                    "complete, rename the directory"
                ) from error
            os.remove(os.path.join(destdir, LOCK))
    except OSError as error:
        raise InputError(f"cannot write {working}: {error.strerror or error}") from error


def _lock(file: IO[str], destdir: str) -> None:
    """Keep other processes from preparing the same data, until *file* is closed.

    Raises:
        InputError: another process prepares them.
    """
    try:
        # Workers, which may outlive a process that is killed, do not inherit such a lock.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise InputError(
            f"another process prepares {destdir}: wait until it is done, or choose another "
            "--destdir"
        ) from error


def check_options(options: PrepareOptions) -> None:
    """Check everything that needs no file except *destdir*.

    Raises:
        InputError: an option has an invalid value or conflicts with another, or *destdir* exists.
    """
    check_languages(options)
    check_destdir(options.destdir)
    check_names(trainpref=options.trainpref, validpref=options.validpref)
    for name in options.testpref:
        check_names(testpref=name)
    if options.trainpref is None and options.vocab_from is None:
        raise InputError("give --trainpref, or --vocab-from with data prepared earlier")
    if not (options.trainpref or options.validpref or options.testpref):
        raise InputError("there is nothing to prepare: give --validpref or --testpref")
    if options.tokenizer not in (None, *TOKENIZERS):
        choices = " or ".join(TOKENIZERS)
        raise InputError(f"--tokenizer must be {choices}, not {options.tokenizer}")
    for name in ("vocab_size", "bpe_merges"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {number}")
    if options.vocab_threshold < 0:
        raise InputError(f"--vocab-threshold must be at least 0, not {options.vocab_threshold}")
    if options.vocab_from is not None and (
        options.vocab_size or options.bpe_merges or options.vocab_threshold
    ):
        raise InputError(
            "--vocab-from uses the BPE and dictionaries of earlier data: leave out --vocab-size, "
            "--bpe-merges and --vocab-threshold"
        )
    if options.vocab_size is not None and options.bpe_merges is not None:
        raise InputError("--vocab-size and --bpe-merges both set the size of the BPE: give one")
    for name in ("max_length", "max_ratio"):  # only training pairs are left out
        is_given = getattr(options, name) != getattr(PrepareOptions, name)
        if options.trainpref is None and is_given:
            raise InputError(
                f"--{name.replace('_', '-')} has no effect without --trainpref: leave it out"
            )
    if options.workers < 1:
        raise InputError(f"--workers must be at least 1, not {options.workers}")


def check_names(**names: Optional[str]) -> None:
    """Refuse names of files that are empty, as those of a variable that is not set.

    Args:
        names: name of a file or prefix of names, or None, for each option.

    Raises:
        InputError: names the option.
    """
    for option, name in names.items():
        if name == "":
            raise InputError(f"--{option} has an empty name: give a file, or leave the option out")


def check_destdir(destdir: str) -> None:
    """Check that data can be made in a directory of this name, and that fairseq can read them.

    Raises:
        InputError: the directory exists, or its name has characters that separate names.
    """
    if not destdir:
        raise InputError("--destdir has an empty name: give a directory to make")
    if os.path.lexists(os.path.normpath(destdir)):
        raise InputError(f"{destdir} exists already: remove it or choose another --destdir")
    for name, character in (("comma", ","), ("colon", ":")):
        if character in destdir:
            raise InputError(
                f"--destdir {destdir} has a {name}, which separates names in fairseq: "
                "choose another name"
            )
    try:
        destdir.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"--destdir {destdir} is not UTF-8, which sentencepiece needs: choose another name"
        ) from error


def check_languages(options: PrepareOptions) -> None:
    """Check that the codes of the languages can be part of file names, and that there are two.

    Raises:
        InputError: they cannot, or both are the same.
    """
    check_code("--source-lang", options.source_lang)
    check_code("--target-lang", options.target_lang)
    if options.source_lang == options.target_lang:
        raise InputError(
            f"source and target language are both {options.source_lang}, so one file would be both "
            "sides of each pair: give the sides two suffixes, for example en and en-simple"
        )


def check_earlier_data(options: PrepareOptions, directory: str) -> None:
    """Check that the BPE and dictionaries of earlier data can be used.

    Args:
        options: options of the new data.
        directory: directory of the earlier data.

    Raises:
        InputError: a file is missing, or the earlier data were tokenised or cased differently.
    """
    dictionaries = [f"dict.{lang}.txt" for lang in options.languages]
    for name in (SENTENCEPIECE_MODEL, *dictionaries):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            raise InputError(
                f"{path} is missing: --vocab-from must be a directory that fairseq-lrn prepare "
                f"made for {options.source_lang}-{options.target_lang}"
            )
    earlier = with_earlier_options(options, directory)
    for name in ("lowercase", "tokenizer"):
        given, needed = getattr(options, name), getattr(earlier, name)
        if given not in (None, needed):
            remedy = f"{'add' if needed is True else 'leave out'} --{name}"
            if given == NONE:
                remedy += " none, or --no-tokenize"
            raise InputError(
                f"{directory} was prepared with {name}={needed}, but this is {name}={given}: "
                f"{remedy}"
            )


def with_earlier_options(options: PrepareOptions, directory: str) -> PrepareOptions:
    """The options with those of the earlier data in *directory* that must be the same.

    Raises:
        InputError: the earlier data have no record of their options.
    """
    record = PARALLEL.read(directory)
    return replace(
        options,
        vocab_threshold=record.get("vocab_threshold", 0),
        lowercase=record.get("lowercase", False),
        tokenizer=record.get("tokenizer", MOSES if any(moses_rules(record).values()) else NONE),
    )


def choose_policies(options: PrepareOptions) -> Dict[str, Policy]:
    """The policy for each language; with earlier data, it tokenises as they were tokenised.

    Raises:
        InputError: the earlier data have no record of their options.
    """
    tokenizer = options.tokenizer or DEFAULT_TOKENIZER
    policies = {lang: policy(lang, tokenizer) for lang in options.languages}
    if options.vocab_from is not None:
        rules = moses_rules(PARALLEL.read(options.vocab_from))
        policies = {lang: replace(policies[lang], moses=rules[lang]) for lang in policies}
    return policies


def read_splits(options: PrepareOptions) -> Splits:
    """Read the files of every split.

    Raises:
        InputError: a file cannot be read, or two sides have different numbers of lines.
    """
    prefixes = {}
    if options.trainpref:
        prefixes["train"] = options.trainpref
    if options.validpref:
        prefixes["valid"] = options.validpref
    for index, prefix in enumerate(options.testpref):
        prefixes[f"test{index or ''}"] = prefix
    return {split: read_pair(prefix, *options.languages) for split, prefix in prefixes.items()}


def _prepare_into(working: str, options: PrepareOptions) -> None:
    text = os.path.join(working, "text")
    policies = choose_policies(options)
    raw = read_splits(options)
    samples = [sample(lines) for lines in raw.get("train") or next(iter(raw.values()))]
    splits = tokenize(raw, policies, options)
    del raw
    check_overlap(splits, options)
    for split, sides in splits.items():
        for lang, lines in zip(options.languages, sides):
            write_lines(os.path.join(text, f"{split}.tok.{lang}"), lines)
    bpe = _make_bpe(working, splits, options)
    for side, lang in enumerate(options.languages):
        restricted = bpe
        if options.vocab_threshold > 0:
            restricted = restrict(bpe, _vocabulary(bpe, splits, side, options))
        for split, sides in splits.items():
            subwords = encode(restricted, sides[side], options.workers)
            write_lines(os.path.join(text, f"{split}.bpe.{lang}"), map(" ".join, subwords))
    preprocess(working, splits, options)
    write_record(working, policies, options)
    for lang, lines in zip(options.languages, samples):
        report_round_trip(working, lang, lines)


def write_record(directory: str, policies: Dict[str, Policy], options: PrepareOptions) -> None:
    """Record the options, and the policy for each language.

    Args:
        directory: directory of the prepared data.
        policies: the policy for each language.
        options: options of the data.
    """
    record: Dict[str, Any] = asdict(options)
    record["tokenizer"] = options.tokenizer or DEFAULT_TOKENIZER
    record["policies"] = {lang: asdict(found) for lang, found in policies.items()}
    write_json(directory, PARALLEL.record, record)


def tokenize(splits: Splits, policies: Dict[str, Policy], options: PrepareOptions) -> Splits:
    """Tokenise every split, and clean the training data.

    Args:
        splits: raw text.
        policies: the policy for each language.
        options: options of the data.

    Raises:
        InputError: cleaning leaves no training pair.
    """
    for lang, found in policies.items():
        logger.info("%s: %s", lang, found)
    tokenizers = {lang: Tokenizer(policies[lang].moses, options.lowercase) for lang in policies}
    tokenized = {}
    # Without Moses, to send the lines to other processes would take longer than the work.
    uses_moses = any(found.moses is not None for found in policies.values())
    with worker_pool(options.workers if uses_moses else 1) as pool:
        for split, sides in splits.items():
            logger.info("%s: %d pairs", split, len(sides[0]))
            source, target = (
                list(pool.map(tokenizers[lang], lines, chunksize=500))
                for lang, lines in zip(options.languages, sides)
            )
            tokenized[split] = source, target
    if "train" in tokenized:
        source_length, target_length = (policies[lang].length for lang in options.languages)
        tokenized["train"] = clean(
            tokenized["train"],
            (source_length, target_length),
            options.max_length,
            options.max_ratio,
        )
    return tokenized


def check_overlap(splits: Splits, options: PrepareOptions) -> None:
    """Warn of pairs of other splits that are in the training text, or in that of earlier data.

    Args:
        splits: tokenised text.
        options: options of the data.
    """
    training: Iterable[Tuple[str, str]] = zip(*splits.get("train", ([], [])))
    if "train" not in splits and options.vocab_from is not None:
        prefix = os.path.join(options.vocab_from, "text", "train.tok")
        if all(os.path.isfile(f"{prefix}.{lang}") for lang in options.languages):
            training = zip(*read_pair(prefix, *options.languages))
    others = {split: sides for split, sides in splits.items() if split != "train"}
    warn_of_overlap(others, training)


def _make_bpe(
    working: str, splits: Splits, options: PrepareOptions
) -> sentencepiece.SentencePieceProcessor:
    """Train a BPE on the tokenised training text, or copy that of earlier data."""
    model = os.path.join(working, SENTENCEPIECE_MODEL)
    if options.vocab_from is not None:
        earlier_model = os.path.join(options.vocab_from, SENTENCEPIECE_MODEL)
        bpe = load_bpe(earlier_model)
        shutil.copy(earlier_model, model)
        return bpe
    inputs = [os.path.join(working, f"bpe-input.{lang}") for lang in options.languages]
    for path, lines in zip(inputs, splits["train"]):
        write_bpe_text(path, lines)
    train_bpe(inputs, model, options.vocab_size or DEFAULT_VOCAB_SIZE, options.bpe_merges)
    for path in inputs:
        os.remove(path)
    return load_bpe(model)


def _vocabulary(
    bpe: sentencepiece.SentencePieceProcessor, splits: Splits, side: int, options: PrepareOptions
) -> Set[str]:
    """The subwords that may be used on one side, 0 for the source and 1 for the target."""
    lang = options.languages[side]
    if options.vocab_from is not None:
        path = os.path.join(options.vocab_from, f"dict.{lang}.txt")
        return set(Dictionary.load(path).symbols)
    counts: Counter[str] = Counter()
    for subwords in encode(bpe, splits["train"][side], options.workers):
        counts.update(subwords)
    frequent = {subword for subword, count in counts.items() if count >= options.vocab_threshold}
    logger.info(
        "%s: %d of %d subwords occur at least %d times",
        lang, len(frequent), len(counts), options.vocab_threshold,
    )  # fmt: skip
    return frequent


def encode(
    bpe: sentencepiece.SentencePieceProcessor, lines: List[str], workers: int
) -> Iterator[List[str]]:
    """The subwords of each line, computed in blocks, because a large corpus does not fit in memory.

    Args:
        bpe: BPE model.
        lines: tokenised lines.
        workers: number of threads.
    """
    for start in range(0, len(lines), ENCODED_AT_ONCE):
        block = lines[start : start + ENCODED_AT_ONCE]
        yield from bpe.encode(block, out_type=str, num_threads=workers)


def write_bpe_text(path: str, lines: Iterable[str]) -> None:
    """Write text for :func:`train_bpe`, with long lines cut between words.

    sentencepiece leaves out lines of more than 4192 bytes.

    Args:
        path: the file.
        lines: the text.
    """
    cut = partial(textwrap.wrap, width=BPE_LINE, break_on_hyphens=False)
    write_lines(
        path,
        (part for line in lines for part in ([line] if len(line) <= BPE_LINE else cut(line))),
    )


def train_bpe(inputs: List[str], model: str, vocab_size: int, merges: Optional[int] = None) -> None:
    """Train a joint BPE model with sentencepiece and write it to *model*.

    Args:
        inputs: files of tokenised text. Lines of more than 4192 bytes are left out.
        model: path of the model, with the suffix ``.model``.
        vocab_size: number of subwords, characters included.
        merges: number of merges, in place of *vocab_size*; fewer if the text has fewer.

    Raises:
        InputError: sentencepiece fails, e.g. because the text is too small for *vocab_size*.
    """
    if merges is not None:
        characters: Set[str] = set()
        for path in inputs:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    characters.update(line)
        # The vocabulary has a character for spaces, none for line ends, and three special symbols.
        characters = (characters - {"\n", " "}) | {SENTENCEPIECE_SPACE}
        vocab_size = merges + len(characters) + 3
    logger.info("train a joint BPE of %d subwords", vocab_size)
    prefix = model.removesuffix(".model")
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=inputs,
            model_prefix=prefix,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=merges is None,
            character_coverage=1.0,
            # The text is normalised already, and detokenisation could not undo a change here.
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"sentencepiece cannot make {vocab_size} subwords from the training text: choose "
            f"another {'--vocab-size' if merges is None else '--bpe-merges'} ({error})"
        ) from error
    os.remove(prefix + ".vocab")


def preprocess(working: str, splits: Collection[str], options: PrepareOptions) -> None:
    """Run ``fairseq-preprocess``.

    Args:
        working: directory of the data, with the segmented text in ``text/``.
        splits: names of the splits.
        options: options of the data.

    Raises:
        InputError: ``fairseq-preprocess`` fails.
    """
    command = ["--source-lang", options.source_lang, "--target-lang", options.target_lang]
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
            path = os.path.join(os.curdir, options.vocab_from, f"dict.{lang}.txt")
            command += [f"--{side}dict", path]
    run_preprocess(command)


def run_preprocess(arguments: List[str]) -> None:
    """Run ``fairseq-preprocess``, and warn of files with unknown tokens.

    Args:
        arguments: of the command.

    Raises:
        InputError: it fails.
    """
    logger.info("fairseq-preprocess")
    result = run_module("fairseq_cli.preprocess", arguments)
    if result.returncode != 0:
        raise command_failed("fairseq-preprocess", result.stderr)
    for path, share in re.findall(r" (\S.*): \d+ sents, .* ([\d.]+)% replaced", result.stdout):
        if float(share) > 0:
            logger.warning(
                "%s: %s%% of the tokens are not in the dictionary: models read them as unknown",
                os.path.basename(path), share,
            )  # fmt: skip
