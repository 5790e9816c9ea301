"""The options of ``fairseq-lrn prepare-labelled``, and their record in the prepared data."""

from dataclasses import asdict, dataclass
from typing import Optional

from fairseq_lrn.data.destination import check_destdir, check_names
from fairseq_lrn.data.entities import SCHEMES
from fairseq_lrn.data.labelled_files import KINDS, SPANS, TAGS
from fairseq_lrn.data.labelled_text import MOSES, PUNCTUATION, SENTENCEPIECE, SPACE, TOKENIZERS
from fairseq_lrn.data.languages import MOSES as MOSES_RULES
from fairseq_lrn.data.languages import policy
from fairseq_lrn.data.text_files import LABELLED, write_json
from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class LabelledOptions:
    """Options of ``prepare_labelled``, with the names of ``fairseq-lrn prepare-labelled``.

    Attributes:
        kind: what has a label: ``text``, ``pair`` (of texts) or ``tags`` (each word); or ``spans``,
            questions whose answers are parts of a text.
        trainpref: file of the training data; see
            :func:`~fairseq_lrn.data.labelled_files.read_labelled` and, for questions,
            :func:`~fairseq_lrn.data.span_files.read_spans` for the formats.
        destdir: directory to create.
        validpref: file of the validation data.
        testpref: file of the test data.
        tag_scheme: scheme of the tags in the files, one of
            :data:`~fairseq_lrn.data.entities.SCHEMES`. None: IOB2.
        tokenizer: splits text: ``space``, ``moses``, ``punctuation``, or ``sentencepiece`` for
            a BPE that is learned on the training texts. None: ``punctuation`` for ``spans``, and
            ``space`` for the others.
        language: the language of Moses's rules. None: :data:`DEFAULT_LANGUAGE`.
        vocab_size: number of subwords of the BPE. None: the default of ``fairseq-lrn prepare``.
        lowercase: lower-case words, but not their characters; subwords are lower-cased with them.
        threshold: words that occur at least this often in the training texts are in the dictionary.
        vectors: file of word vectors; words of all splits that have one are in the dictionary.
        all_vectors: all words of *vectors* are in the dictionary.
        characters: write the characters of words.
        workers: number of processes.
    """

    kind: str
    trainpref: str
    destdir: str
    validpref: Optional[str] = None
    testpref: Optional[str] = None
    tag_scheme: Optional[str] = None
    tokenizer: Optional[str] = None
    language: Optional[str] = None
    vocab_size: Optional[int] = None
    lowercase: bool = False
    threshold: int = 1
    vectors: Optional[str] = None
    all_vectors: bool = False
    characters: bool = True
    workers: int = 1

    def __post_init__(self) -> None:
        if self.tokenizer is None:
            object.__setattr__(self, "tokenizer", PUNCTUATION if self.kind == SPANS else SPACE)


def check_options(options: LabelledOptions) -> None:
    """Check everything that needs no file except *destdir*.

    Raises:
        InputError: an option has an invalid value or conflicts with another, or *destdir* exists.
    """
    check_destdir(options.destdir)
    check_names(
        trainpref=options.trainpref,
        validpref=options.validpref,
        testpref=options.testpref,
        vectors=options.vectors,
    )
    for name, value, choices in (
        ("kind", options.kind, KINDS),
        ("tag-scheme", options.tag_scheme, (None, *SCHEMES)),
        ("tokenizer", options.tokenizer, TOKENIZERS),
    ):
        if value not in choices:
            names = ", ".join(filter(None, choices))
            raise InputError(f"--{name} must be one of {names}, not {value}")
    if options.tag_scheme is not None and options.kind != TAGS:
        raise InputError("--tag-scheme is for --kind tags: leave it out")
    if options.kind == TAGS and options.tokenizer != SPACE:
        raise InputError(
            f"--kind tags has its words given, each with a tag: leave out --tokenizer "
            f"{options.tokenizer}"
        )
    if options.kind == SPANS and options.tokenizer != PUNCTUATION:
        raise InputError(
            "--kind spans needs words whose places in the text are exact: leave out --tokenizer "
            f"{options.tokenizer}"
        )
    if options.vocab_size is not None and options.tokenizer != SENTENCEPIECE:
        raise InputError(
            "--vocab-size is for subwords: leave it out, or add --tokenizer sentencepiece"
        )
    if options.vectors is not None and options.tokenizer == SENTENCEPIECE:
        raise InputError(
            "--vectors has vectors of words, not of subwords: leave it out, or choose --tokenizer "
            "space, moses or punctuation"
        )
    if options.all_vectors and options.vectors is None:
        raise InputError("--all-vectors needs --vectors FILE, the file of word vectors")
    check_minimum(
        1, vocab_size=options.vocab_size, threshold=options.threshold, workers=options.workers
    )
    moses_language(options)


def moses_language(options: LabelledOptions) -> Optional[str]:
    """The language of Moses's rules; None: they are not used, or there are none.

    Tags have one, too, because raw text for a tagger must be split into words.

    Raises:
        InputError: there are no rules, but they are needed; or a language is given in vain.
    """
    if options.tokenizer != MOSES and options.kind != TAGS:
        if options.language is not None:
            remedy = "" if options.kind == SPANS else ", or add --tokenizer moses"
            raise InputError(f"--language chooses the rules of Moses: leave it out{remedy}")
        return None
    language = options.language or DEFAULT_LANGUAGE
    rules = policy(language, MOSES_RULES).moses
    if rules is None and options.tokenizer == MOSES:
        raise InputError(
            f"Moses has no rules for --language {language}: choose --tokenizer space, "
            "punctuation or sentencepiece"
        )
    return rules


def write_record(directory: str, options: LabelledOptions) -> None:
    """Record the options and the version of the format.

    Args:
        directory: directory of the prepared data.
        options: options of the data.
    """
    record = {
        **asdict(options),
        "language": moses_language(options),
        "version": LABELLED.version,
    }
    write_json(directory, LABELLED.record, record)
