"""What a graphics card has to offer an index, and whose code drives it: FAISS's where that can, else torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.errors import EngineError, MissingDependency
from engine.index.base import Float32, Int64

BATCH = 256
"""Queries that a device is asked at once, at most."""
LARGEST_K = 2048
"""Answers a query that a device is asked for, at most: FAISS's GPU indexes allow no more."""


class Device(Protocol):
    """An inner-product index on a card. One thread uses it, the one that made it."""

    def search(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        """Scores and rows ``(m, k)`` of ``queries`` ``(m, d)``, best first; k ≤ n, and the answer is on the host."""
        ...


DeviceFactory = Callable[[Float32], Device]
"""Copies vectors ``(n, d)`` float32 to a card, in 16-bit floats, and keeps no reference to them."""


def find_device() -> DeviceFactory | None:
    """What can put vectors on a card here, or None: there is no GPU that FAISS or torch can use."""
    try:
        return require_device()
    except MissingDependency:
        return None


def any_device(matrix: Float32) -> Device:
    """Vectors on whatever card there is. Raises: MissingDependency: there is none."""
    return require_device()(matrix)


def require_device() -> DeviceFactory:
    """FAISS's GPU index where it is installed and sees a GPU, else torch's.

    Raises:
        MissingDependency: neither sees one.
    """
    from engine.index.faiss_device import FaissDevice, faiss_sees_gpu
    from engine.index.torch_device import TorchDevice, torch_sees_gpu

    if faiss_sees_gpu():
        return FaissDevice
    if torch_sees_gpu():
        return TorchDevice
    raise MissingDependency("there is no GPU that FAISS or torch can use", hint="use index_kind auto")


def error_to_text(error: Exception) -> str:
    """An error's kind and the first line of what it says: FAISS's and torch's go on for pages."""
    said = str(error).strip().splitlines()
    kind = "" if isinstance(error, (ValueError, EngineError)) else type(error).__name__
    return ": ".join(part for part in (kind, *said[:1]) if part)
