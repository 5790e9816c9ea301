"""The files that raw text needs, beside prepared data and beside checkpoints.

They are small: the BPE model, the dictionaries, and the record of the options of the command that
prepared the data. They are copied beside each checkpoint, so a directory of checkpoints is enough
to use a model on raw text.
"""

import filecmp
import json
import os
import shutil
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Set

from fairseq_lrn.checkpoints import task_options
from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write

SENTENCEPIECE_MODEL = "sentencepiece.bpe.model"
VECTORS = "vectors.txt"  # of labelled data


def write_json(directory: str, name: str, record: Dict[str, Any]) -> None:
    """Write the record of prepared data.

    Args:
        directory: the data.
        name: name of the record's file.
        record: its values.
    """
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.write("\n")


@dataclass(frozen=True)
class PreparedData:
    """What the data that one command of ``fairseq-lrn`` prepares have beside binarised text.

    Attributes:
        command: the command.
        record: name of the file with its options.
        options: options that every record has.
        names: the other files that raw text needs, by the options. Some are in directories, beside
            checkpoints as well.
        version: of the format, which is in the record; None: there is only one.
    """

    command: str
    record: str
    options: Set[str]
    names: Callable[[Dict[str, Any]], List[str]]
    version: Optional[int] = None

    def read(self, directory: str) -> Dict[str, Any]:
        """The options, as recorded in *directory*.

        Raises:
            InputError: *directory* has no record, it is damaged, or it has another format.
        """
        path = os.path.join(directory, self.record)
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot read {path}, which fairseq-lrn {self.command} wrote: {error}"
            ) from error
        if not isinstance(record, dict) or not self.options <= record.keys():
            missing = " and ".join(sorted(self.options))
            raise InputError(
                f"{path} was not written by fairseq-lrn {self.command}: it does not have {missing}"
            )
        if self.version not in (None, record.get("version")):
            raise InputError(
                f"{path} has the format {record['version']}, but this version of fairseq_lrn reads "
                f"{self.version}: prepare the data again, or install the version that made them"
            )
        return record

    def files(self, directory: str) -> List[str]:
        """Names of the files that raw text needs, the record first.

        Returns:
            the names; an empty list if the command did not make *directory*.

        Raises:
            InputError: the record is damaged, or it has another format.
        """
        if not os.path.isfile(os.path.join(directory, self.record)):
            return []
        return [self.record, *self.names(self.read(directory))]

    def check_complete(self, directory: str, remedy: str = "give that directory") -> None:
        """Check that a directory has all files that raw text needs.

        Args:
            directory: the directory.
            remedy: for messages, how to give the directory of the prepared data instead.

        Raises:
            InputError: a file is missing, or see :meth:`files`.
        """
        names = self.files(directory) or [self.record]
        missing = [name for name in names if not os.path.isfile(os.path.join(directory, name))]
        if missing:
            raise InputError(
                f"{directory} lacks {', '.join(missing)}: copy what is missing from the directory "
                f"that fairseq-lrn {self.command} made, or {remedy}"
            )


def _parallel_names(record: Dict[str, Any]) -> List[str]:
    dictionaries = [f"dict.{record[side]}.txt" for side in ("source_lang", "target_lang")]
    return [SENTENCEPIECE_MODEL, *dictionaries]


def _monolingual_names(record: Dict[str, Any]) -> List[str]:
    return ["dict.txt"] if record["words"] else ["dict.txt", SENTENCEPIECE_MODEL]


def _labelled_names(record: Dict[str, Any]) -> List[str]:
    dictionaries = ["input0"]
    dictionaries += ["label"] * (record["kind"] != "spans")  # places in a text have no dictionary
    dictionaries += ["characters"] * record["characters"]
    model = [SENTENCEPIECE_MODEL] if record["tokenizer"] == "sentencepiece" else []
    return [*(os.path.join(name, "dict.txt") for name in dictionaries), *model]


PARALLEL = PreparedData("prepare", "prepare.json", {"source_lang", "target_lang"}, _parallel_names)
MONOLINGUAL = PreparedData(
    "prepare-lm", "prepare_lm.json", {"words", "lowercase"}, _monolingual_names
)
LABELLED = PreparedData(
    "prepare-labelled",
    "prepare_labelled.json",
    {"kind", "tokenizer", "language", "lowercase", "characters", "version"},
    _labelled_names,
    version=1,
)


def moses_rules(record: Dict[str, Any]) -> Dict[str, Optional[str]]:
    """The language of Moses's rules for each language of the data; None: without Moses.

    Args:
        record: the options of :data:`PARALLEL`. Older records have one setting for both languages.
    """
    languages = record["source_lang"], record["target_lang"]
    if "policies" in record:
        return {lang: record["policies"][lang]["moses"] for lang in languages}
    return {lang: lang if record.get("tokenize", True) else None for lang in languages}


def keep(data: str, directory: str) -> None:
    """Copy the files that raw text needs from prepared data to a directory of checkpoints.

    Raises:
        InputError: the files cannot be written; earlier files are unchanged.
    """
    for name in (name for kind in (PARALLEL, MONOLINGUAL, LABELLED) for name in kind.files(data)):
        source, target = os.path.join(data, name), os.path.join(directory, name)
        if os.path.isfile(source) and not (
            os.path.isfile(target) and filecmp.cmp(source, target, shallow=False)
        ):
            _make_directory(os.path.dirname(target))
            with open(source, "rb") as original, atomic_write(target) as copy:
                shutil.copyfileobj(original, copy)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path or ".", exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def keep_beside_checkpoint(state: Dict[str, Any], directory: str) -> None:
    """Put the files that raw text needs beside a checkpoint, if there are any.

    Args:
        state: the checkpoint.
        directory: its directory.

    Raises:
        InputError: the files cannot be read or written.
    """
    data = task_options(state).get("data")
    if isinstance(data, str):
        keep(data.split(os.pathsep)[0], directory)
