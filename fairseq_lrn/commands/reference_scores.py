"""BLEU and chrF of translations, for ``fairseq-lrn score REFERENCE``."""

import codecs
import logging
import os
import shutil
import stat
import sys
import tempfile
from typing import List, Sequence

from fairseq_lrn.data.generate_output import (
    is_generate_output,
    moses_rules_of,
    read_translations,
)
from fairseq_lrn.data.languages import bleu_tokenizer
from fairseq_lrn.data.parallel import read_lines, text_lines, write_lines
from fairseq_lrn.data.run_module import run_module
from fairseq_lrn.data.tokenization import Detokenizer
from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)


def score_against_reference(translations: str, reference: str, options: Sequence[str]) -> None:
    """Print BLEU and chrF.

    Args:
        translations: output of fairseq-generate, or a file with one translation per line.
        reference: file of the raw reference.
        options: of sacreBLEU; the target language may be in front of them.

    Raises:
        InputError: a file cannot be used, or sacreBLEU fails.
    """
    for path in (translations, reference):
        if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            raise InputError(f"{path} is a pipe, and it is read several times: give a file")
    language, options = reference.rsplit(".", 1)[-1], list(options)
    if options and not options[0].startswith("-"):
        language = options.pop(0)
    hypotheses = translations
    if is_generate_output(translations):
        hypotheses = f"{translations}.detok"
        write_lines(hypotheses, read_generated(translations, reference, language))
        with open(translations, encoding="utf-8") as file:
            bleu = [line for line in file if line.startswith("Generate ")]
        print(*bleu, sep="", end="", flush=True)
    else:
        check_plain_translations(translations, reference)
    _run_sacrebleu(reference, hypotheses, "bleu", [*tokenizer(language, options), *options])
    lowercase = ["--chrf-lowercase"] if {"-lc", "--lowercase"} & set(options) else []
    _run_sacrebleu(reference, hypotheses, "chrf", lowercase)


def read_generated(path: str, reference: str, language: str) -> List[str]:
    """The raw text of the translations in the output of fairseq-generate.

    Args:
        path: output of fairseq-generate.
        reference: file of the raw reference.
        language: the target language.

    Raises:
        InputError: the output cannot be used, or has another number of sentences.
    """
    translations, references = read_translations(path), read_lines(reference)
    if len(translations) != len(references):
        raise InputError(
            f"{path} has {len(translations)} translations, but {reference} has "
            f"{len(references)} lines: give the reference of the set that was generated; if it is, "
            "fairseq left sentences out, so generate again with --user-dir fairseq_lrn and without "
            "--skip-invalid-size-inputs-valid-test"
        )
    rules = moses_rules_of(translations, references, language)
    if rules is None:
        logger.info("the data are not tokenised, so the translations need no detokenisation")
    else:
        logger.info("the translations are detokenised with Moses's rules for %s", rules)
    detokenize = Detokenizer(rules)
    return [detokenize(sentence.hypothesis) for sentence in translations]


def check_plain_translations(path: str, reference: str) -> None:
    """Check that a file has one translation per line, as many as the reference has lines.

    Args:
        path: the file.
        reference: file of the raw reference.

    Raises:
        InputError: the file has columns, or another number of lines.
    """
    count, expected = len(read_lines(path)), len(read_lines(reference))
    if count != expected:
        raise InputError(
            f"{path} has {count} lines, but {reference} has {expected}: give complete output of "
            "fairseq-generate, or one translation per line"
        )
    if all(line.startswith(f"{number}\t") for number, line in enumerate(text_lines(path))):
        raise InputError(f"{path} has columns: translate without --nbest, --scores and --alignment")


def tokenizer(language: str, options: List[str]) -> List[str]:
    """The option that chooses sacreBLEU's tokeniser by language, unless there is one already.

    Args:
        language: the target language.
        options: options of sacreBLEU.
    """
    names = [option.split("=")[0] for option in options]
    if any(name == "-tok" or name.startswith("--tok") for name in names):
        return []
    chosen = bleu_tokenizer(language)
    logger.info("BLEU: sacreBLEU's tokeniser %s, for the language '%s'", chosen, language)
    return ["-tok", chosen]


def _run_sacrebleu(reference: str, hypotheses: str, metric: str, options: List[str]) -> None:
    """Print a score, computed by the command of sacreBLEU.

    Args:
        reference: file of the reference.
        hypotheses: file of the translations.
        metric: ``bleu`` or ``chrf``.
        options: further options of sacreBLEU.

    Raises:
        InputError: sacreBLEU fails; it has printed why.
    """
    with tempfile.TemporaryDirectory() as directory:
        right, given = (_without_mark(path, directory) for path in (reference, hypotheses))
        command = [right, "-i", given, "-m", metric, "-w", "2", "--format", "text", *options]
        # Its output is printed here, so that a reader that ends, or Ctrl-C, causes no traceback
        # there.
        result = run_module("sacrebleu", command)
    sys.stderr.write(result.stderr)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise InputError(
            f"sacreBLEU failed on {hypotheses} and {reference} with the options "
            f"'{' '.join(options)}': its own message is above"
        )


def _without_mark(path: str, directory: str) -> str:
    """The file *path*, or if it begins with a byte-order mark, a copy in *directory* without it.

    sacreBLEU takes the mark for a part of the first word.
    """
    with open(path, "rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            return os.path.join(os.curdir, path)  # or "-x" would be an option
        with tempfile.NamedTemporaryFile(dir=directory, delete=False) as copy:
            shutil.copyfileobj(file, copy)
    return copy.name
