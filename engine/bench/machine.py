"""What figures were measured on: processor, cores, versions, and what reading memory costs there."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.index.cuda import cuda_driver as _cuda_driver

PACKAGES = ("engine", "numpy", "scipy", "torch", "faiss-cpu", "faiss-gpu", "numba")
BYTES = 2**30
"""Read at once to find the bandwidth: several times what caches hold, on most machines."""


def machine(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Processor, cores, memory, cache, GPU if there is one, and versions of what is installed."""
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _kilobytes("/proc/meminfo", "MemTotal"),
        "last_level_cache": _last_cache(),
        "gpu": gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def gpu() -> str | None:
    """The name of the CUDA device that torch sees, or None. Torch, seconds to import, is asked where it may see one."""
    try:
        if "torch" not in sys.modules and "rocm" not in version("torch") and not _cuda_driver():
            return None
        import torch
    except (ImportError, PackageNotFoundError):
        return None
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def resident_bytes(pid: int | str = "self") -> int | None:
    """Memory of a process that is its own: without pages of mapped files. None where the system does not tell."""
    kept = _kilobytes(f"/proc/{pid}/status", "RssAnon")
    if kept is not None:
        return kept + (_kilobytes(f"/proc/{pid}/status", "RssShmem") or 0)
    return None


def trim() -> None:
    """Give what was freed back to the system, so that it is not counted as resident."""
    gc.collect()
    if sys.platform == "linux":
        trimmed = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trimmed is not None:
            trimmed(0)


def bandwidth(size: int = BYTES, turns: int = 5) -> dict[str, float]:
    """Gigabytes (10⁹) a second that one thread reads from memory: the best of some turns, and their median.

    Four streams at once, summed in vector registers: the fastest of what was tried that uses every number.
    """
    array = np.ones(size // 4, np.float32)
    kernel = _reader()
    kernel(array[:4096])
    rates = []
    for _ in range(turns):
        started = perf_counter()
        kernel(array)
        rates.append(array.nbytes / (perf_counter() - started) / 1e9)
    return {"best": max(rates), "median": float(np.median(rates)), "bytes": float(array.nbytes)}


@lru_cache(maxsize=1)
def _reader() -> Any:
    from engine.compiled import compiled

    def total(array: NDArray[np.float32]) -> Any:
        quarter = len(array) // 4
        one, two = array[:quarter], array[quarter : 2 * quarter]
        three, four = array[2 * quarter : 3 * quarter], array[3 * quarter : 4 * quarter]
        found = np.float32(0)
        for i in range(quarter):
            found += (one[i] + two[i]) + (three[i] + four[i])
        return found

    return compiled(total)


def _line(path: str, key: str) -> str | None:
    file = Path(path)
    if not file.is_file():
        return None
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _kilobytes(path: str, key: str) -> int | None:
    try:
        found = _line(path, key)
    except OSError:  # the process has ended
        return None
    return None if found is None else int(found.split()[0]) * 1024


def _last_cache() -> str | None:
    files = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return files[-1].read_text(encoding="utf-8").strip() if files else None
