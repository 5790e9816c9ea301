"""``python -m fairseq_lrn.ops``: what computes the recurrence here, for a bug report."""

import os
import platform
import shutil

import torch

from fairseq_lrn import __version__
from fairseq_lrn.ops import backends, dispatch, extension

VARIABLES = (
    dispatch.BACKEND_VARIABLE,
    dispatch.INTERPRETER_VARIABLE,
    extension.BUILD_VARIABLE,
    extension.FLAGS_VARIABLE,
    "ATEN_CPU_CAPABILITY",
    "CXX",
    "OMP_NUM_THREADS",
    "TORCH_EXTENSIONS_DIR",
)


def main() -> None:
    """Try the fused kernels, build them if need be, and print what became of it."""
    for device_type in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        dispatch.choose(device_type, "auto")
    print(
        f"fairseq_lrn {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    )
    print(f"{platform.platform()}, {torch.get_num_threads()} threads")
    compilers = [name for name in extension.COMPILERS if shutil.which(name)]
    print(f"C++ compilers: {', '.join(compilers) or 'none'}")
    for name in VARIABLES:
        if name in os.environ:
            print(f"{name}={os.environ[name]}")
    for backend in backends():
        print(f"{backend.name:<11}{backend.state:<13}{backend.reason}")


if __name__ == "__main__":
    main()
