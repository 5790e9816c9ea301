"""Prepare raw text of one language for language models: words or subwords, and binarised data."""

import logging
import os
from dataclasses import asdict, dataclass
from typing import Dict, List, Optional

from fairseq_lrn.data.bpe import learn_bpe
from fairseq_lrn.data.destination import check_destdir, check_names, new_directory
from fairseq_lrn.data.monolingual_text import MonolingualText
from fairseq_lrn.data.parallel import read_lines, write_lines
from fairseq_lrn.data.run_module import run_preprocess
from fairseq_lrn.data.symbols import SPECIAL
from fairseq_lrn.data.text_files import MONOLINGUAL, SENTENCEPIECE_MODEL, write_json
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Tokenizer
from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MonolingualOptions:
    """Options of :func:`prepare_monolingual`, with the names of ``fairseq-lrn prepare-lm``.

    Attributes:
        trainpref: file of the training text.
        destdir: directory to create.
        validpref: file of the validation text.
        testpref: file of the test text.
        words: split words at white space, and keep the words of all files in the dictionary.
            Otherwise a BPE is learned.
        vocab_size: number of subwords of the BPE.
        lowercase: lower-case the text.
        workers: number of processes.
    """

    trainpref: str
    destdir: str
    validpref: Optional[str] = None
    testpref: Optional[str] = None
    words: bool = False
    vocab_size: Optional[int] = None
    lowercase: bool = False
    workers: int = 1


def prepare_monolingual(options: MonolingualOptions) -> None:
    """Prepare a text in ``options.destdir``, which must not exist yet.

    The directory holds the binarised data and their dictionary, the BPE model if there is one, and
    a record of the options. It is made under a temporary name, and renamed when it is complete.

    Raises:
        InputError: an option or a file cannot be used, or *destdir* exists.
    """
    check_options(options)
    files = {
        split: path
        for split, path in (
            ("train", options.trainpref),
            ("valid", options.validpref),
            ("test", options.testpref),
        )
        if path is not None
    }
    texts = {split: read_lines(path) for split, path in files.items()}
    if options.lowercase:
        texts = {split: [line.lower() for line in lines] for split, lines in texts.items()}
    for split, lines in texts.items():
        if options.words:
            check_words(files[split], lines)
        else:
            report_spaces(files[split], lines)
    with new_directory(options.destdir) as working:
        _prepare_into(working, texts, options)


def check_options(options: MonolingualOptions) -> None:
    """Check everything that needs no file except *destdir*.

    Raises:
        InputError: an option has an invalid value or conflicts with another, or *destdir* exists.
    """
    check_destdir(options.destdir)
    check_names(trainpref=options.trainpref, validpref=options.validpref, testpref=options.testpref)
    if options.words and options.vocab_size is not None:
        raise InputError(
            "--words keeps all words: leave out --vocab-size, which is for subwords, or --words"
        )
    check_minimum(1, vocab_size=options.vocab_size, workers=options.workers)


def check_words(path: str, lines: List[str]) -> None:
    """Refuse words that are written like fairseq's special symbols; ``<unk>`` is an unknown word.

    Args:
        path: the file of the text, for the message.
        lines: the text.

    Raises:
        InputError: names the file, the line and the word.
    """
    symbols = SPECIAL - {"<unk>"}
    for number, line in enumerate(lines, 1):
        found = symbols.intersection(line.split())
        if found:
            raise InputError(
                f"{path}, line {number} has the word {min(found)}, which is a special symbol of "
                "fairseq: remove it; every line gets a </s> at its end by itself"
            )


def report_spaces(path: str, lines: List[str]) -> None:
    """Log how many lines have the character that subwords have in place of a space.

    Args:
        path: the file of the text.
        lines: the text.
    """
    count = sum(SENTENCEPIECE_SPACE in line for line in lines)
    if count > 0:
        logger.warning(
            "%s: %d lines have the character %s (U+2581), which is a space in subwords; it is "
            "replaced by _",
            path, count, SENTENCEPIECE_SPACE,
        )  # fmt: skip


def _prepare_into(working: str, texts: Dict[str, List[str]], options: MonolingualOptions) -> None:
    write_json(working, MONOLINGUAL.record, asdict(options))
    prefix = os.path.join(working, "text")
    if not options.words:
        model = os.path.join(working, SENTENCEPIECE_MODEL)
        # As MonolingualText does before it makes subwords.
        training = map(Tokenizer(None, options.lowercase), texts["train"])
        learn_bpe(model, [training], options.vocab_size)
        text = MonolingualText(working)
        for split, lines in texts.items():
            write_lines(f"{prefix}.{split}", (" ".join(text.tokens(line)) for line in lines))
    else:
        for split, lines in texts.items():
            write_lines(f"{prefix}.{split}", lines)
        write_lines(f"{prefix}.all", (line for lines in texts.values() for line in lines))
    common = [
        "--only-source",
        "--destdir",
        working,
        "--workers",
        str(options.workers),
        "--padding-factor",
        "1",
    ]
    dictionary = os.path.join(working, "dict.txt")
    if options.words:
        run_preprocess(["--dict-only", "--trainpref", f"{prefix}.all", *common])
        common += ["--srcdict", dictionary]
    splits = [word for split in texts for word in (f"--{split}pref", f"{prefix}.{split}")]
    run_preprocess([*splits, *common])
    for split in (*texts, "all") if options.words else texts:
        os.remove(f"{prefix}.{split}")
