"""Errors that users can act on."""


class InputError(ValueError):
    """Input or an option that cannot be used. The message names the cause and the remedy."""


class DataMismatch(InputError):
    """A checkpoint that does not fit the data at hand."""


def cannot_read(name: str, error: Exception) -> InputError:
    """The error for a file that cannot be read.

    Args:
        name: the file, or what it is with its path.
        error: why it cannot.
    """
    return InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}")


def command_failed(action: str, output: str) -> InputError:
    """The error for a command that ended with a non-zero exit status.

    Args:
        action: the action that failed and its input, e.g. ``"training lrn on data-bin"``.
        output: everything that the command printed; the message shows its last five lines.
    """
    lines = output.strip().splitlines()
    return InputError(f"{action} failed; its last output was:\n" + "\n".join(lines[-5:]))
