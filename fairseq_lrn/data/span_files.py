"""Reading questions whose answers are parts of a text, in the format of SQuAD 1.1."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple, Type

from fairseq_lrn.data.parallel import not_utf8
from fairseq_lrn.data.raw_text import check_text
from fairseq_lrn.errors import InputError, cannot_read

SHOWN = 40  # characters of a text in a message
NAMES: Dict[type, str] = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}
FORMAT = "give a file in the format of SQuAD 1.1"


class Answer(NamedTuple):
    """An answer: its text, and the position of its first character in the context."""

    text: str
    start: int


@dataclass(frozen=True)
class SpanFile:
    """The questions of a file.

    Attributes:
        path: the file.
        contexts: the raw text of each paragraph that has questions.
        questions: the raw text of each question.
        ids: the name of each question.
        owners: for each question the index of its context.
        answers: for each question all answers that are right; empty lists if the file has none.
        content: the file itself.
    """

    path: str
    contexts: List[str] = field(default_factory=list)
    questions: List[str] = field(default_factory=list)
    ids: List[str] = field(default_factory=list)
    owners: List[int] = field(default_factory=list)
    answers: List[List[Answer]] = field(default_factory=list)
    content: bytes = field(default=b"", repr=False)

    @property
    def texts(self) -> Tuple[List[str], List[str]]:
        """The questions and the contexts."""
        return self.questions, self.contexts


def read_spans(path: str, needs_answers: bool = True, content: Optional[bytes] = None) -> SpanFile:
    """Read questions in the format of SQuAD 1.1 (Rajpurkar et al., 2016).

    Args:
        path: a JSON file. Keys that are not needed may be there.
        needs_answers: refuse questions without answers. Otherwise all questions may be without.
        content: of the file, if it has been read already; then *path* is its name in messages.

    Raises:
        InputError: the file cannot be read, is not UTF-8, is not in this format, or has no
            questions; an answer is not where it should be; or the same question occurs twice.
    """
    raw = _read(path) if content is None else content
    value = _value(path, _parse(path, raw), dict)
    version = value.get("version")
    if re.fullmatch(r"(squad *)?v?2(\.\d+)?", str(version).strip(), re.IGNORECASE):
        raise _unanswerable(f"{path}: the version is {version}")
    file = SpanFile(path, content=raw)
    known: Set[str] = set()
    for number, article in enumerate(_list(path, value, "data"), 1):
        place = f"{path}, article {number}"
        title = _value(place, article, dict).get("title")
        place += f" ({title})" if isinstance(title, str) else ""
        for index, paragraph in enumerate(_list(place, article, "paragraphs"), 1):
            _add_paragraph(file, known, f"{place}, paragraph {index}", paragraph)
    if not file.questions:
        raise InputError(f"{path} has no questions: {FORMAT} that has some")
    _check_presence(file, needs_answers)
    return file


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise cannot_read(path, error) from error


def _parse(path: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise not_utf8(path, content.count(b"\n", 0, error.start) + 1, error) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}, column {error.colno}: this is not JSON ({error.msg}): "
            f"{FORMAT}, and check that it is complete"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path} has too many brackets in brackets: {FORMAT}") from error
    except ValueError as error:  # a number with thousands of digits
        raise InputError(f"{path} has a value that cannot be read ({error}): {FORMAT}") from error


def _add_paragraph(file: SpanFile, known: Set[str], place: str, paragraph: Any) -> None:
    """Add the questions of a paragraph to a file.

    Args:
        file: the file.
        known: names of its questions, for a quick look.
        place: of the paragraph, for messages.
        paragraph: what the file has there.
    """
    context = _text(place, paragraph, "context")
    questions = _list(place, paragraph, "qas")
    for number, question in enumerate(questions, 1):
        name = _text(f"{place}, question {number}", question, "id")
        named = f"{file.path}, question {name}"
        if name in known:
            raise InputError(
                f"{named}: there are two questions with this id: give each one its own"
            )
        known.add(name)
        if question.get("is_impossible") is True:
            raise _unanswerable(f"{named}: is_impossible is true")
        file.questions.append(_text(named, question, "question"))
        file.ids.append(name)
        file.owners.append(len(file.contexts))
        answers = _list(named, question, "answers") if "answers" in question else []
        numbered = enumerate(answers, 1)
        file.answers.append([_answer(f"{named}, answer {n}", a, context) for n, a in numbered])
    if questions:
        file.contexts.append(context)


def _answer(place: str, answer: Any, context: str) -> Answer:
    text, start = _text(place, answer, "text"), _value_of(place, answer, "answer_start", int)
    found = context[start : start + len(text)] if start >= 0 else ""
    if found != text:
        raise InputError(
            f"{place}: {_shown(text)} is not in the context at answer_start {start}, "
            f"where {_shown(found)} is: count characters from 0, or correct the answer"
        )
    return Answer(text, start)


def _check_presence(file: SpanFile, needs_answers: bool) -> None:
    """Refuse questions without answers, unless all of them may be without and are."""
    if not needs_answers and not any(file.answers):
        return
    for name, answers in zip(file.ids, file.answers):
        if not answers:
            remedy = "" if needs_answers else ", or remove the answers of all other questions"
            raise InputError(
                f"{file.path}, question {name}: there are no answers: add one, or remove the "
                f"question{remedy}"
            )


def _unanswerable(fault: str) -> InputError:
    return InputError(
        f"{fault}, but SQuAD 2.0 has questions without an answer, which this model cannot leave "
        "unanswered: use SQuAD 1.1"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _value(place: str, value: Any, kind: Type[Any], name: str = "it") -> Any:
    """The value itself, if it is of that kind."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{place}: {name} must be {NAMES[kind]}: {FORMAT}")
    return value


def _value_of(place: str, mapping: Any, key: str, kind: Type[Any]) -> Any:
    if key not in _value(place, mapping, dict):
        raise InputError(f'{place}: the key "{key}" is missing: {FORMAT}')
    return _value(place, mapping[key], kind, f'"{key}"')


def _list(place: str, mapping: Any, key: str) -> List[Any]:
    return _value_of(place, mapping, key, list)


def _text(place: str, mapping: Any, key: str) -> str:
    """A text that has words."""
    text = _value_of(place, mapping, key, str)
    check_text(text, f'{place}: "{key}"')
    if not text.strip():
        raise InputError(f'{place}: "{key}" has no words: give it some, or remove it')
    return text
