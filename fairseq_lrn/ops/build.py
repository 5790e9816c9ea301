"""Building and finding the library with the C++ kernel.

Its file name holds a hash of its sources and of the torch it is for, so a library that does not
fit is never found, and one that is found needs no check. It is sought beside this file, where
an installation puts it, then in torch's cache of extensions, where it is built on first use.
One build serves every processor: the kernel is compiled for several instruction sets and chooses
among them when it runs.

This file also runs by itself, without the package: in setup.py, and to build in a process whose
output can be kept.
"""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Optional

import torch

BUILD_VARIABLE = "FAIRSEQ_LRN_BUILD"
# Further flags for compiler and linker, for sanitizers.
FLAGS_VARIABLE = "FAIRSEQ_LRN_CXXFLAGS"
COMPILERS = ("c++", "g++", "clang++")
OLDEST_TORCH = (2, 6)
# How long one failed build stands for the others.
RETRY_SECONDS = 600

logger = logging.getLogger(__name__)


class BuildError(Exception):
    """The library cannot be built; the message says why and what helps."""


def sources(directory: Path) -> list:
    """The C++ files and headers."""
    return sorted((directory / "csrc").iterdir())


def torch_is_too_old() -> bool:
    """Whether torch lacks what the C++ kernel uses of it."""
    return tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH


def library_name(directory: Path) -> str:
    """Name of the library, without the suffix of the platform."""
    fingerprint = hashlib.sha256()
    for path in (*sources(directory), directory / "extension.py"):
        fingerprint.update(path.read_bytes())
    abi = torch._C._GLIBCXX_USE_CXX11_ABI
    flags = os.environ.get(FLAGS_VARIABLE, "")
    for fact in (torch.__version__, platform.machine(), abi, flags):
        fingerprint.update(f"{fact};".encode())
    return f"_lrn_scan_{fingerprint.hexdigest()[:16]}"


def extension(directory: Path, package: str = ""):
    """The setuptools extension; *directory* holds ``csrc``.

    setup.py gives a relative *directory*, as setuptools demands, and its *package*.
    """
    from torch.utils.cpp_extension import CppExtension

    flags = os.environ.get(FLAGS_VARIABLE, "").split()
    files = [str(path) for path in sources(directory)]
    # No OpenMP: the kernel uses torch's threads.
    return CppExtension(
        package + library_name(directory),
        [path for path in files if path.endswith(".cpp")],
        depends=[path for path in files if path.endswith(".h")],
        extra_compile_args=["-O2", "-ffp-contract=fast", *flags],
        extra_link_args=flags,
        optional=True,
    )


def find() -> Optional[Path]:
    """The library that fits, or None."""
    directory = Path(__file__).parent
    name = library_name(directory)
    for place in (directory, cache_directory()):
        for path in sorted(place.glob(f"{name}*.so")):
            return path
    return None


def build() -> Path:
    """Build the library into torch's cache of extensions, unless another process just did.

    Raises:
        BuildError: it cannot be built.
    """
    reason = obstacle()
    if reason is not None:
        raise BuildError(reason)
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise BuildError(
            f"{directory} cannot be written ({error}); set TORCH_EXTENSIONS_DIR to a directory "
            "that can"
        ) from error
    with lock:
        _wait_for(lock)
        return find() or _build(directory, str(_compiler()))


def obstacle() -> Optional[str]:
    """Why the library is not even tried to be built here; None if it is."""
    if os.environ.get(BUILD_VARIABLE, "1") == "0":
        return f"it is not built yet, and {BUILD_VARIABLE}=0 turns building off"
    if torch_is_too_old():
        return f"it needs torch 2.6 or later, but this is {torch.__version__}"
    if _compiler() is None:
        return "no C++ compiler was found; install g++ or clang, or set CXX"
    return None


def _compiler() -> Optional[str]:
    return os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)


def _wait_for(lock: IO) -> None:
    """One process at a time. The system frees the lock of a process that dies."""
    try:
        import fcntl
    except ImportError as error:
        raise BuildError(f"it is built on Linux and macOS only, not on {sys.platform}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        logger.warning("waiting for another process that builds the C++ kernels")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _build(directory: Path, compiler: str) -> Path:
    log = directory / f"{library_name(Path(__file__).parent)}.log"
    failure = log.with_suffix(".failed")
    if failure.exists() and time.time() - failure.stat().st_mtime < RETRY_SECONDS:
        # The other processes of one training need not all find out for themselves.
        raise BuildError(f"{failure.read_text()} (to try again at once, remove {failure})")
    logger.warning("building the C++ kernels, once (about a minute), into %s", directory)
    # Flags that a user has set for other builds may be for this very machine.
    own_flags = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in own_flags}
    # In a directory of its own, then moved: no process ever sees half a library.
    with tempfile.TemporaryDirectory(dir=directory) as place:
        command = "import runpy, sys; runpy.run_path(sys.argv[1])['compile_into'](sys.argv[2])"
        with log.open("w") as output:
            result = subprocess.run(
                [sys.executable, "-c", command, __file__, place],
                cwd=place,
                env={**environment, "CC": compiler, "CXX": compiler},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        built = sorted(Path(place).glob("_lrn_scan_*.so"))
        if result.returncode != 0 or not built:
            lines = log.read_text(errors="replace").splitlines()
            errors = [line.strip() for line in lines if "error" in line.lower()] or lines[-1:]
            reason = f"building it failed ({errors[0] if errors else ''}); see {log}"
            failure.write_text(reason)
            raise BuildError(reason)
        return Path(shutil.move(str(built[0]), directory / built[0].name))


def compile_into(place: str) -> None:
    """Compile the library in this process; it and all that is left over lie in *place*."""
    from setuptools import Distribution
    from torch.utils.cpp_extension import BuildExtension

    module = extension(Path(__file__).parent)
    module.optional = False
    command = BuildExtension(Distribution({"ext_modules": [module]}))
    command.build_lib = place
    command.build_temp = os.path.join(place, "objects")
    command.ensure_finalized()
    command.run()


def cache_directory() -> Path:
    """Where torch keeps extensions that are built on first use (TORCH_EXTENSIONS_DIR)."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    if root is None:
        from torch._appdirs import user_cache_dir

        root = user_cache_dir(appname="torch_extensions")
    return (
        Path(root).absolute()
        / f"py{sys.version_info.major}{sys.version_info.minor}"
        / "fairseq_lrn"
    )
