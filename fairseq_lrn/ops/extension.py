"""Building and finding the library with the C++ kernel.

Its file name holds a hash of its sources and of the torch it is for, so a library that does not
fit is never found, and one that is found needs no check. It is sought beside this file, where
an installation puts it, then in torch's cache of extensions, where it is built on first use.
One build serves every processor: the kernel is compiled for several instruction sets and chooses
among them when it runs.

This file also runs by itself, without the package: in setup.py, and to build in a process whose
output can be kept.
"""

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import torch

BUILD_VARIABLE = "FAIRSEQ_LRN_BUILD"
# Further flags for compiler and linker, for sanitizers.
FLAGS_VARIABLE = "FAIRSEQ_LRN_CXXFLAGS"
COMPILERS = ("c++", "g++", "clang++")

logger = logging.getLogger(__name__)


class BuildError(Exception):
    """The library cannot be built; the message says why and what helps."""


def sources(directory: Path) -> list:
    """The C++ files, the one to compile first."""
    return [directory / "csrc" / name for name in ("lrn_scan.cpp", "lrn_scan_kernel.h")]


def library_name(directory: Path) -> str:
    """Name of the library, without the suffix of the platform."""
    fingerprint = hashlib.sha256()
    for path in sources(directory):
        fingerprint.update(path.read_bytes())
    for fact in (torch.__version__, platform.machine(), os.environ.get(FLAGS_VARIABLE, "")):
        fingerprint.update(fact.encode())
    return f"_lrn_scan_{fingerprint.hexdigest()[:16]}"


def extension(directory: Path, package: str = ""):
    """The setuptools extension; *directory* holds ``csrc``.

    setup.py gives a relative *directory*, as setuptools demands, and its *package*.
    """
    from torch.utils.cpp_extension import CppExtension

    flags = os.environ.get(FLAGS_VARIABLE, "").split()
    source, *headers = map(str, sources(directory))
    # No OpenMP: the kernel uses torch's threads.
    return CppExtension(
        package + library_name(directory),
        [source],
        depends=headers,
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
    if os.environ.get(BUILD_VARIABLE, "1") == "0":
        raise BuildError(f"it is not built yet, and {BUILD_VARIABLE}=0 turns building off")
    compiler = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise BuildError("no C++ compiler was found; install g++ or clang, or set CXX")
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / "lock"):
            found = find()
            if found is None:
                found = _build(directory, compiler)
    except OSError as error:
        raise BuildError(
            f"{directory} cannot be written ({error}); set TORCH_EXTENSIONS_DIR to a directory "
            "that can"
        ) from error
    return found


def _build(directory: Path, compiler: str) -> Path:
    logger.warning(
        "building the C++ kernel of lrn_scan, once (about half a minute), into %s", directory
    )
    log = directory / "build.log"
    # In a directory of its own, then moved: no process ever sees half a library.
    with tempfile.TemporaryDirectory(dir=directory) as place:
        command = "import runpy, sys; runpy.run_path(sys.argv[1])['compile_into'](sys.argv[2])"
        with log.open("w") as output:
            result = subprocess.run(
                [sys.executable, "-c", command, __file__, place],
                cwd=place,
                env={**os.environ, "CC": compiler, "CXX": compiler},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        built = sorted(Path(place).glob("_lrn_scan_*.so"))
        if result.returncode != 0 or not built:
            lines = log.read_text(errors="replace").splitlines()
            errors = [line.strip() for line in lines if "error" in line.lower()] or lines[-1:]
            raise BuildError(f"building it failed ({errors[0] if errors else ''}); see {log}")
        return Path(shutil.move(str(built[0]), directory / built[0].name))


def compile_into(place: str) -> None:
    """Compile the library in this process; it and all that is left over lie in *place*."""
    from setuptools import Distribution
    from torch.utils.cpp_extension import BuildExtension

    module = extension(Path(__file__).parent)
    module.optional = False
    command = BuildExtension(Distribution({"ext_modules": [module]}), use_ninja=False)
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
    return Path(root) / f"py{sys.version_info.major}{sys.version_info.minor}" / "fairseq_lrn"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The system frees the lock of a process that dies."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
