"""Commands as processes that are forked where all is imported already.

Importing fairseq takes longer than most commands of the tests do. :class:`Warm` keeps a process
that has imported everything (multiprocessing's forkserver) and a directory with stand-ins for
``python`` and fairseq's commands: put before the others in PATH, they have it fork a process that
does the work with their arguments, directory, environment, input and output. Everything is as in
a process of its own, but for what libraries read of the environment when they are imported.
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
PRELOADED += ["hydra", "sacrebleu", "sacremoses", "sentencepiece"]
COMMANDS = ["fairseq-generate", "fairseq-interactive", "fairseq-train", "fairseq-validate"]
COMMANDS += ["fairseq-preprocess", "fairseq-score", "fairseq-lrn", "sacrebleu", "python"]

STAND_IN = """#!{python} -IS
import json, os, socket, sys
name, arguments = {name!r}, sys.argv[1:]
script = arguments[:1] and arguments[0].endswith(".py")
runs = script or arguments[:1] == ["-m"] if name == "python" else arguments[:1] != ["serve"]
if not runs:  # read from standard input or the command line, or ended by a signal
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
    """Starts processes; *directory* is where the stand-ins go.

    Attributes:
        stand_ins: the directory to put into PATH.
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
        """A process that runs the command *name*; *streams* are three file descriptors."""
        what = (name, arguments, directory or os.getcwd(), environment or dict(os.environ))
        streams = [Connection(os.dup(number)) for number in streams]
        with self._lock:
            process = self._context.Process(target=_run, args=(streams, self.stand_ins, *what))
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
                what = json.loads(message.read())
            process = self.start(streams, *what)
            for number in streams:
                os.close(number)
            process.join()
            # Killed by a signal: as a shell says it.
            code = process.exitcode if process.exitcode >= 0 else 128 - process.exitcode
            client.sendall(str(code).encode())


def _run(streams, stand_ins, name, arguments, directory, environment):
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    # Workers of data loading would be made by importing everything anew.
    multiprocessing.set_start_method("fork", force=True)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", 1)))
    sys.executable = str(stand_ins / "python")  # for processes that this one starts
    logging.root.handlers.clear()  # each command sets up its own
    logging.root.setLevel(logging.WARNING)
    sys.argv = [name, *arguments]
    if name != "python":
        runpy.run_path(str(BIN / name), run_name="__main__")
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, directory)
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
