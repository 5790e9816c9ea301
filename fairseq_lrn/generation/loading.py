"""What loading a trained model needs: its device, and the files of its raw text."""

import os
from typing import Any, Dict, NamedTuple, Optional, Sequence, Union

import torch
from fairseq import checkpoint_utils

from fairseq_lrn import checkpoints
from fairseq_lrn.data.text_files import PreparedData
from fairseq_lrn.errors import DataMismatch, InputError

PathLike = Union[str, bytes, "os.PathLike[Any]"]

_LANGUAGE_MODEL = "use fairseq-lrn generate, or fairseq-lrn score --model with one file"
_TRANSLATOR = "use fairseq-lrn translate, or fairseq-lrn score --model with two files"
# What uses the models of each task, for the error that another command raises.
COMMANDS = {
    "translation": _TRANSLATOR,
    "translation_lrn": _TRANSLATOR,
    "language_modeling": _LANGUAGE_MODEL,
    "stateful_language_modeling": _LANGUAGE_MODEL,
    "text_classification": "use fairseq-lrn classify",
    "sequence_tagging": "use fairseq-lrn tag",
    "span_prediction": "use fairseq-lrn answer",
}


GIVE_DATA = "give that directory as data=DIR or --data DIR"


class Loaded(NamedTuple):
    """A model that was loaded.

    Attributes:
        file: its checkpoint.
        model: the model.
        task: its task.
        directory: directory of the files that raw text needs.
    """

    file: str
    model: Any
    task: Any
    directory: str


def load_one(
    path: PathLike,
    checkpoint: Optional[PathLike],
    data: Optional[PathLike],
    prepared: PreparedData,
    tasks: Sequence[str],
    kind: str,
) -> Loaded:
    """Load a checkpoint that is no ensemble.

    Args:
        path: directory of checkpoints, or a checkpoint.
        checkpoint: name of a checkpoint in the directory; None: the preferred one.
        data: directory of the files that raw text needs; None: find it.
        prepared: the kind of its data.
        tasks: names of the tasks that train this kind of model.
        kind: what the model is, e.g. ``"a language model"``, for messages.

    Raises:
        InputError: the checkpoint cannot be used, it was trained for another task, or there are no
            files of raw text.
    """
    found = checkpoints.chosen(path, checkpoint)
    if len(found) > 1:
        raise InputError(f"give one checkpoint, not {len(found)}: ensembles are for translation")
    state = checkpoints.load(found[0])
    name = checkpoints.task_name(state)
    if name not in tasks:
        remedy = COMMANDS.get(str(name), f"give a model that was trained with --task {tasks[0]}")
        origin = "names no task" if name is None else f"was trained with --task {name}"
        raise InputError(
            f"{found[0]} {origin}, but {kind} needs --task {' or '.join(tasks)}: {remedy}"
        )
    if data is not None:
        directory = checkpoints.decoded("data", data)
        prepared.check_complete(directory, GIVE_DATA)
    else:
        directory = find_text_directory(found[0], state, prepared)
    with checkpoints.readable(directory) as readable_directory:
        try:
            (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
                found, arg_overrides={"data": readable_directory}
            )
        except (DataMismatch, RuntimeError) as error:
            # fairseq's own models compare nothing before they load.
            if not isinstance(error, DataMismatch) and "size mismatch" not in str(error):
                raise
            raise InputError(
                f"{directory} does not have the data of {found[0]}: give the directory of the data "
                "that the model was trained on"
            ) from error
    return Loaded(found[0], model, task, directory)


def usable_device(name: Optional[str]) -> torch.device:
    """The device *name*, by default a GPU if there is one.

    Raises:
        InputError: torch cannot use the device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}") from error
    return device


def find_text_directory(file: str, state: Dict[str, Any], prepared: PreparedData) -> str:
    """The directory with the files that raw text needs: the checkpoint's, or that of its data.

    Args:
        file: path of the checkpoint.
        state: the checkpoint.
        prepared: the kind of its data.

    Raises:
        InputError: neither directory has these files, or the first one that has some lacks others.
    """
    directories = [os.path.dirname(file) or "."]
    training_data = checkpoints.task_options(state).get("data")
    if isinstance(training_data, str):
        directories.append(training_data.split(os.pathsep)[0])
    for directory in directories:
        if prepared.files(directory):
            prepared.check_complete(directory, GIVE_DATA)
            return directory
    raise InputError(
        f"there is no {prepared.record} in {' and '.join(directories)}, so the tokenisation of raw "
        f"text is unknown: give the directory that fairseq-lrn {prepared.command} made, as "
        "data=DIR or --data DIR"
    )
