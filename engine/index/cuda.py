"""Whether CUDA can be there, found out without importing torch."""

from __future__ import annotations

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, version


def may_see_cuda() -> bool:
    """Whether torch may see a GPU: importing it takes seconds, and this does not."""
    if "torch" in sys.modules or cuda_driver():
        return True
    try:
        return "rocm" in version("torch")
    except PackageNotFoundError:
        return False


def cuda_driver() -> bool:
    """Whether there is a driver of CUDA."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
