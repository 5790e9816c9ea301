"""The C++ kernels, for tests that are about them: skipped where they cannot be built."""

import pytest

from fairseq_lrn.ops import extension

MISSING = extension.obstacle() if extension.find() is None else None
needs_cpp = pytest.mark.skipif(MISSING is not None, reason=f"C++ kernels: {MISSING}")
CPP = pytest.param("cpp", marks=needs_cpp)
