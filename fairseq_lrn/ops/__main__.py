"""``python -m fairseq_lrn.ops``: what computes the operators here, for bug reports."""

import contextlib
import os
import platform
import shutil

import torch

from fairseq_lrn import __version__
from fairseq_lrn.ops import backends, build, dispatch, int8_kernel, products
from fairseq_lrn.ops.lrn_scan.triton_backend import INTERPRETER_VARIABLE

VARIABLES = (
    dispatch.BACKEND_VARIABLE,
    INTERPRETER_VARIABLE,
    products.PRODUCTS_VARIABLE,
    build.BUILD_VARIABLE,
    build.FLAGS_VARIABLE,
    "ATEN_CPU_CAPABILITY",
    "CXX",
    "OMP_NUM_THREADS",
    "TORCH_EXTENSIONS_DIR",
)


def main() -> None:
    """Load the fused kernels, building them if need be, and print the state of each backend."""
    device_types = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device_type in device_types:
        dispatch.choose(device_type, "auto")
    compilers = [name for name in build.COMPILERS if shutil.which(name)]
    print(f"fairseq_lrn {__version__}, torch {torch.__version__}")
    print(f"Python {platform.python_version()}, {platform.platform()}")
    print(f"{torch.get_num_threads()} threads, C++ compilers: {', '.join(compilers) or 'none'}")
    for name in VARIABLES:
        if name in os.environ:
            print(f"{name}={os.environ[name]}")
    for device_type in device_types:
        try:
            chosen = dispatch.choose(device_type)
        except dispatch.SettingError as error:
            chosen = f"error: {error}"
        print(f"kernels on {device_type}: {chosen}")
    try:
        library = f"{' ('.join(products.library_in_use())})"
    except dispatch.SettingError as error:
        library = f"error: {error}"
    print(f"float32 products on cpu: {library}")
    with contextlib.suppress(dispatch.UnknownSetting):  # the lines above have said so
        print(f"8-bit products: {int8_kernel() or 'unavailable'}")
    for backend in backends():
        print(f"{backend.name:<11}{backend.state:<13}{backend.reason}")


if __name__ == "__main__":
    main()
