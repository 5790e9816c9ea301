"""Commands in processes that are forked from a process with all imports.

Importing fairseq takes longer than most commands of the tests. :class:`Warm` keeps a process that
has imported everything (multiprocessing's forkserver), and a directory with stand-ins for
``python`` and fairseq's commands. If this directory is first in PATH, a stand-in forks a process
that runs the command with the same arguments, directory, environment, input and output. Two
differences to a new process: libraries read their environment variables before the fork, and this
package is imported already, also without ``--user-dir``.
"""

import json
import logging
import multiprocessing
import os
import runpy
import socket
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

BIN = Path(sys.executable).parent
PRELOADED = ["fairseq.tasks", "fairseq.trainer", "fairseq.checkpoint_utils", "fairseq.models"]
PRELOADED += ["fairseq.modules", "fairseq.sequence_scorer", "fairseq.data"]
PRELOADED += ["hydra", "sacrebleu", "sacremoses", "sentencepiece"]
PRELOADED += ["torch._dynamo"]  # which torch's optimisers import
PRELOADED += ["fairseq_lrn"]  # --user-dir finds it imported, whatever the path to it
COMMANDS = ["fairseq-generate", "fairseq-interactive", "fairseq-train", "fairseq-validate"]
COMMANDS += ["fairseq-preprocess", "fairseq-score", "fairseq-eval-lm", "fairseq-lrn", "sacrebleu"]
COMMANDS += ["python"]

STAND_IN = """#!{python} -IS
import json, os, socket, sys
name, arguments = {name!r}, sys.argv[1:]
if name == "python":
    runs = arguments and (arguments[0] in ("-m", "-c", "-") or arguments[0].endswith(".py"))
else:
    runs = arguments[:1] != ["serve"]  # a signal ends a server
if not runs:
    os.execv({path!r}, [{path!r}, *arguments])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([name, arguments, os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    code = server.recv(16)
sys.exit(int(code or 1))
"""


class Warm:
    """Starts commands in forked processes.

    Args:
        directory: an empty directory for the stand-ins.

    Attributes:
        stand_ins: the directory of the stand-ins, to be put first in PATH.
    """

    def __init__(self, directory: Path):
        self.stand_ins = directory
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._lock = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        address = str(directory / "socket")
        self._server.bind(address)
        self._server.listen()
        for name in COMMANDS:
            path = directory / name
            path.write_text(
                STAND_IN.format(
                    python=sys.executable, name=name, path=str(BIN / name), address=address
                )
            )
            path.chmod(0o755)
        threading.Thread(target=self._serve, daemon=True).start()

    def start(self, streams, name, arguments, directory=None, environment=None):
        """Start a process that runs the command *name*.

        Args:
            streams: file descriptors of standard input, output and error.
            name: name of the command.
            arguments: its arguments.
            directory: its working directory.
            environment: its environment variables.
        """
        command = (name, arguments, directory or os.getcwd(), environment or dict(os.environ))
        streams = [Connection(os.dup(number)) for number in streams]
        with self._lock:
            process = self._context.Process(target=_run, args=(streams, self.stand_ins, *command))
            process.start()
        return process

    def _serve(self):
        while True:
            client, _ = self._server.accept()
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client):
        with client:
            _, streams, _, _ = socket.recv_fds(client, 1, 3)
            with client.makefile("rb") as message:
                command = json.loads(message.read())
            process = self.start(streams, *command)
            for number in streams:
                os.close(number)
            process.join()
            # A process that a signal killed gets the exit status that a shell gives it.
            code = process.exitcode if process.exitcode >= 0 else 128 - process.exitcode
            client.sendall(str(code).encode())


def _run(streams, stand_ins, name, arguments, directory, environment):
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    # With the forkserver, every worker of data loading would import everything again.
    multiprocessing.set_start_method("fork", force=True)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", 1)))
    sys.executable = str(stand_ins / "python")  # for the processes that the command starts
    logging.root.handlers.clear()  # each command sets up its own handlers
    logging.root.setLevel(logging.WARNING)
    sys.argv = [name, *arguments]
    if name != "python":
        runpy.run_path(str(BIN / name), run_name="__main__")
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, directory)
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] in ("-c", "-"):
        code = arguments.pop(1) if arguments[0] == "-c" else sys.stdin.read()
        sys.argv = arguments
        sys.path.insert(0, directory)
        exec(code, {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
