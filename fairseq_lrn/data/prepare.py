"""Prepare raw parallel text for ``fairseq-train``.

The steps: optional tokenisation with Moses (sacremoses) of the languages that Moses has rules for,
optional lower-casing, cleaning, a joint BPE (sentencepiece), optionally with a vocabulary for each
language, and ``fairseq-preprocess``.
"""

import logging
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Collection, Dict, Iterable, List, Optional, Set, Tuple

from fairseq.data import Dictionary

from fairseq_lrn.data.bpe import encode, learn_bpe, load_bpe, restrict
from fairseq_lrn.data.cleaning import clean, warn_of_overlap
from fairseq_lrn.data.destination import check_destdir, check_names, new_directory
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
from fairseq_lrn.data.round_trip import report_round_trip, sample
from fairseq_lrn.data.run_module import run_preprocess
from fairseq_lrn.data.text_files import PARALLEL, SENTENCEPIECE_MODEL, moses_rules, write_json
from fairseq_lrn.data.tokenization import Tokenizer
from fairseq_lrn.data.workers import worker_pool
from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum, option_name

if TYPE_CHECKING:  # as in data/bpe.py
    import sentencepiece

logger = logging.getLogger(__name__)

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
    check_minimum(
        1, vocab_size=options.vocab_size, bpe_merges=options.bpe_merges, workers=options.workers
    )
    check_minimum(0, vocab_threshold=options.vocab_threshold)
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
            raise InputError(f"{option_name(name)} has no effect without --trainpref: leave it out")


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
) -> "sentencepiece.SentencePieceProcessor":
    """Train a BPE on the tokenised training text, or copy that of earlier data."""
    model = os.path.join(working, SENTENCEPIECE_MODEL)
    if options.vocab_from is not None:
        earlier_model = os.path.join(options.vocab_from, SENTENCEPIECE_MODEL)
        bpe = load_bpe(earlier_model)
        shutil.copy(earlier_model, model)
        return bpe
    learn_bpe(model, splits["train"], options.vocab_size, options.bpe_merges)
    return load_bpe(model)


def _vocabulary(
    bpe: "sentencepiece.SentencePieceProcessor", splits: Splits, side: int, options: PrepareOptions
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
