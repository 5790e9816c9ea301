"""The files that raw text needs, beside prepared data and beside checkpoints.

They are small: the BPE model, the dictionaries, and the record of the options of
``fairseq-lrn prepare``. They are copied beside each checkpoint, so a directory of checkpoints is
enough to translate raw text.
"""

import filecmp
import json
import os
import shutil
from typing import Any, Dict, List, Optional, Set

from fairseq_lrn.checkpoints import task_options
from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write

SENTENCEPIECE_MODEL = "sentencepiece.bpe.model"
RECORD = "prepare.json"
MONOLINGUAL_RECORD = "prepare_lm.json"
LABELLED_RECORD = "prepare_labelled.json"
VECTORS = "vectors.txt"  # of labelled data
LABELLED_VERSION = 1  # of the format of labelled data


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


def read_record(directory: str) -> Dict[str, Any]:
    """The options of ``fairseq-lrn prepare``, as recorded in *directory*.

    Raises:
        InputError: *directory* has no such record, or it is damaged.
    """
    return _read_json(directory, RECORD, "prepare", {"source_lang", "target_lang"})


def read_monolingual_record(directory: str) -> Dict[str, Any]:
    """The options of ``fairseq-lrn prepare-lm``, as recorded in *directory*.

    Raises:
        InputError: *directory* has no such record, or it is damaged.
    """
    return _read_json(directory, MONOLINGUAL_RECORD, "prepare-lm", {"words", "lowercase"})


def read_labelled_record(directory: str) -> Dict[str, Any]:
    """The options of ``fairseq-lrn prepare-labelled``, as recorded in *directory*.

    Raises:
        InputError: *directory* has no such record, it is damaged, or it has a later format.
    """
    needed = {"kind", "tokenizer", "language", "lowercase", "characters", "version"}
    record = _read_json(directory, LABELLED_RECORD, "prepare-labelled", needed)
    if record["version"] != LABELLED_VERSION:
        raise InputError(
            f"{os.path.join(directory, LABELLED_RECORD)} has the format {record['version']}, but "
            f"this version of fairseq_lrn reads {LABELLED_VERSION}: prepare the data again, or "
            "install the version that made them"
        )
    return record


def _read_json(directory: str, name: str, command: str, needed: Set[str]) -> Dict[str, Any]:
    path = os.path.join(directory, name)
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path}, which fairseq-lrn {command} wrote: {error}"
        ) from error
    if not isinstance(record, dict) or not needed <= record.keys():
        missing = " and ".join(sorted(needed))
        raise InputError(
            f"{path} was not written by fairseq-lrn {command}: it does not have {missing}"
        )
    return record


def moses_rules(record: Dict[str, Any]) -> Dict[str, Optional[str]]:
    """The language of Moses's rules for each language of the data; None: without Moses.

    Args:
        record: see :func:`read_record`. Older records have one setting for both languages.
    """
    languages = record["source_lang"], record["target_lang"]
    if "policies" in record:
        return {lang: record["policies"][lang]["moses"] for lang in languages}
    return {lang: lang if record.get("tokenize", True) else None for lang in languages}


def files(directory: str) -> List[str]:
    """Names of the files that raw text needs.

    Returns:
        the names; an empty list if ``fairseq-lrn prepare`` did not make *directory*.

    Raises:
        InputError: see :func:`read_record`.
    """
    if not os.path.isfile(os.path.join(directory, RECORD)):
        return []
    record = read_record(directory)
    dictionaries = [f"dict.{record[side]}.txt" for side in ("source_lang", "target_lang")]
    return [RECORD, SENTENCEPIECE_MODEL, *dictionaries]


def monolingual_files(directory: str) -> List[str]:
    """Names of the files that the raw text of a language model needs; see :func:`files`.

    Raises:
        InputError: see :func:`read_monolingual_record`.
    """
    if not os.path.isfile(os.path.join(directory, MONOLINGUAL_RECORD)):
        return []
    model = [] if read_monolingual_record(directory)["words"] else [SENTENCEPIECE_MODEL]
    return [MONOLINGUAL_RECORD, "dict.txt", *model]


def labelled_files(directory: str) -> List[str]:
    """Names of the files that the raw text of labelled data needs; see :func:`files`.

    Some are in directories, beside checkpoints as well.

    Raises:
        InputError: see :func:`read_labelled_record`.
    """
    if not os.path.isfile(os.path.join(directory, LABELLED_RECORD)):
        return []
    record = read_labelled_record(directory)
    dictionaries = ["input0"]
    dictionaries += ["label"] * (record["kind"] != "spans")  # places in a text have no dictionary
    dictionaries += ["characters"] * record["characters"]
    model = [SENTENCEPIECE_MODEL] if record["tokenizer"] == "sentencepiece" else []
    return [LABELLED_RECORD, *(os.path.join(name, "dict.txt") for name in dictionaries), *model]


def keep(data: str, directory: str) -> None:
    """Copy the files that raw text needs from prepared data to a directory of checkpoints.

    Raises:
        InputError: the files cannot be written; earlier files are unchanged.
    """
    for name in (*files(data), *monolingual_files(data), *labelled_files(data)):
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
