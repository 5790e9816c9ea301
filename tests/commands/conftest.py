"""Running fairseq-lrn in the process of the tests."""

import logging

import pytest

from fairseq_lrn.commands.main import main


@pytest.fixture
def run(capfd):
    """Run a subcommand, and return what it printed."""

    def run(*arguments):
        capfd.readouterr()
        main(list(map(str, arguments)))
        return capfd.readouterr().out

    return run


@pytest.fixture
def refuse(capfd):
    """Run a subcommand that must refuse its input, and return the message."""

    def refuse(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as error:
            main(list(map(str, arguments)))
        assert error.value.code == 2
        message = capfd.readouterr().err
        assert "Traceback" not in message
        return message

    return refuse


@pytest.fixture(autouse=True)
def logging_is_restored():
    """Each command configures the root logger."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
