"""Building the library with the C++ kernels, and finding it.

The library's file name contains a hash of its sources and of torch's version. So a library that
does not fit is never found, and a library that is found needs no check. :func:`find` looks beside
this file, where an installation puts the library, and then in torch's cache of extensions, where
:func:`build` puts it on first use. One library serves every processor: each kernel is compiled for
several instruction sets, and the library chooses among them at run time.

This file also runs without the package, by ``runpy``: in setup.py, and in the process that compiles
the library, whose output goes to a log file.
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
from typing import IO, List, Optional

import torch

BUILD_VARIABLE = "FAIRSEQ_LRN_BUILD"
# Additional flags for the compiler and the linker, for example for sanitizers.
FLAGS_VARIABLE = "FAIRSEQ_LRN_CXXFLAGS"
COMPILERS = ("c++", "g++", "clang++")
OLDEST_TORCH = (2, 6)
LIBRARY_PREFIX = "_kernels_"
# For this time after a failed build, other processes report its failure and do not build again.
RETRY_SECONDS = 600

logger = logging.getLogger(__name__)


class BuildError(Exception):
    """The library cannot be built. The message gives the reason and the remedy."""


def sources(directory: Path) -> List[Path]:
    """All C++ files and headers below ``csrc`` in *directory*, sorted."""
    return sorted(path for path in (directory / "csrc").rglob("*") if path.is_file())


def torch_is_too_old() -> bool:
    """Whether this torch lacks interfaces that the C++ kernels use."""
    return tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH


def library_name(directory: Path) -> str:
    """Name of the library, without the platform's suffix.

    Args:
        directory: the directory that contains ``csrc`` and ``build.py``.
    """
    fingerprint = hashlib.sha256()
    for path in (*sources(directory), directory / "build.py"):
        fingerprint.update(path.read_bytes())
    abi = torch._C._GLIBCXX_USE_CXX11_ABI
    flags = os.environ.get(FLAGS_VARIABLE, "")
    for fact in (torch.__version__, platform.machine(), abi, flags):
        fingerprint.update(f"{fact};".encode())
    return f"{LIBRARY_PREFIX}{fingerprint.hexdigest()[:16]}"


def extension(directory: Path, package: str = ""):
    """The setuptools extension that builds the library.

    Args:
        directory: the directory that contains ``csrc``. setuptools requires that setup.py gives a
            relative path.
        package: name of the library's package, with a final dot; empty if it has none.
    """
    from torch.utils.cpp_extension import CppExtension

    flags = os.environ.get(FLAGS_VARIABLE, "").split()
    files = [str(path) for path in sources(directory)]
    # Without OpenMP, because the kernels use torch's threads. Python's own flags turn on debug
    # information, which costs a quarter of the time of compiling.
    return CppExtension(
        package + library_name(directory),
        [path for path in files if path.endswith(".cpp")],
        depends=[path for path in files if path.endswith(".h")],
        extra_compile_args=["-O2", "-g0", "-ffp-contract=fast", *flags],
        extra_link_args=flags,
        optional=True,
    )


def find() -> Optional[Path]:
    """Path of the library for these sources and this torch; None if it is not built."""
    directory = Path(__file__).parent
    name = library_name(directory)
    for location in (directory, cache_directory()):
        for path in sorted(location.glob(f"{name}*.so")):
            return path
    return None


def build() -> Path:
    """Build the library in torch's cache of extensions, unless another process has just built it.

    Returns:
        the library's path.

    Raises:
        BuildError: the library cannot be built.
    """
    reason = unavailable_reason()
    if reason is not None:
        raise BuildError(reason)
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise BuildError(
            f"{directory} cannot be written ({error}); set TORCH_EXTENSIONS_DIR to a directory "
            "that can be written"
        ) from error
    with lock:
        _wait_for(lock)
        return find() or _build(directory, str(_compiler()))


def unavailable_reason() -> Optional[str]:
    """Why :func:`build` would not even start the compiler; None if it would start it."""
    if os.environ.get(BUILD_VARIABLE, "1") == "0":
        return f"it is not built yet, and {BUILD_VARIABLE}=0 turns building off"
    if torch_is_too_old():
        return f"it needs torch 2.6 or later, but this is torch {torch.__version__}"
    if _compiler() is None:
        return "no C++ compiler was found; install g++ or clang, or set CXX"
    return None


def _compiler() -> Optional[str]:
    return os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)


def _wait_for(lock: IO) -> None:
    """Wait for the lock, so that one process builds at a time.

    If a process dies, the operating system releases its lock.
    """
    try:
        import fcntl
    except ImportError as error:
        raise BuildError(f"it is built on Linux and macOS only, not on {sys.platform}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        logger.warning("waiting for another process, which is building the C++ kernels")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _build(directory: Path, compiler: str) -> Path:
    log = directory / f"{library_name(Path(__file__).parent)}.log"
    failure = log.with_suffix(".failed")
    if failure.exists() and time.time() - failure.stat().st_mtime < RETRY_SECONDS:
        # Otherwise every process of a training run would repeat the same failure.
        raise BuildError(f"{failure.read_text()} (to try again at once, remove {failure})")
    logger.warning("building the C++ kernels, once (about a minute), in %s", directory)
    # The user may have set these flags for other builds, for example to tune for this processor.
    user_flags = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in user_flags}
    # The finished library is moved into the cache, so no process sees a half-written library.
    with tempfile.TemporaryDirectory(dir=directory) as build_directory:
        command = "import runpy, sys; runpy.run_path(sys.argv[1])['compile_into'](sys.argv[2])"
        with log.open("w") as output:
            result = subprocess.run(
                [sys.executable, "-c", command, __file__, build_directory],
                cwd=build_directory,
                env={**environment, "CC": compiler, "CXX": compiler},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        built = sorted(Path(build_directory).glob(f"{LIBRARY_PREFIX}*.so"))
        if result.returncode != 0 or not built:
            lines = log.read_text(errors="replace").splitlines()
            errors = [line.strip() for line in lines if "error" in line.lower()] or lines[-1:]
            reason = f"building it failed ({errors[0] if errors else ''}); see {log}"
            failure.write_text(reason)
            raise BuildError(reason)
        return Path(shutil.move(str(built[0]), directory / built[0].name))


def compile_into(directory: str) -> None:
    """Compile the library in this process. *directory* gets the library and the object files."""
    from setuptools import Distribution
    from torch.utils.cpp_extension import BuildExtension

    module = extension(Path(__file__).parent)
    module.optional = False
    command = BuildExtension(Distribution({"ext_modules": [module]}))
    command.build_lib = directory
    command.build_temp = os.path.join(directory, "objects")
    command.ensure_finalized()
    command.run()


def cache_directory() -> Path:
    """Our directory in torch's cache of extensions (``TORCH_EXTENSIONS_DIR``)."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    if root is None:
        from torch._appdirs import user_cache_dir

        root = user_cache_dir(appname="torch_extensions")
    return (
        Path(root).absolute()
        / f"py{sys.version_info.major}{sys.version_info.minor}"
        / "fairseq_lrn"
    )
