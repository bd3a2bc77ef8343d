"""What is measured: something that is built over vectors and answers by inner product, at one or several settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.bench.timing import on_threads

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Setting = Mapping[str, Any]


class Searcher(ABC):
    """One index of one library. Its answers are rows ``(m, k)`` int64, best first, −1 where there is none.

    ``exact`` says that every answer is a full scan's; ``packages`` whose versions belong beside the figures.
    """

    exact: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def absent(cls) -> str | None:
        """Why it cannot be measured here, or None."""
        return None

    @classmethod
    def variants(cls, n: int) -> Sequence[str]:
        """Builds of it that are worth measuring on ``n`` vectors, each by itself."""
        return ("",)

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        """Build over ``vectors`` ``(n, d)``, which are mapped read-only; ``folder`` is its own, and empty."""
        self.variant, self.n, self.dimension = variant, *vectors.shape
        self.setting: Setting = {}

    def settings(self) -> Sequence[Setting]:
        """The grid of what can be chosen at search time."""
        return ({},)

    def use(self, setting: Setting) -> None:
        """Search by that setting from now on."""
        self.setting = setting

    @abstractmethod
    def search(self, query: Float32, k: int) -> Int64:
        """Rows ``(1, k)`` for ``query`` ``(1, d)``, on one thread."""

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """Answer ``queries`` ``(m, d)`` together on several threads. One by one, unless the library can do better."""
        return on_threads(lambda row: self.search(queries[row : row + 1], k), len(queries), threads)

    @abstractmethod
    def bytes_read(self, k: int) -> tuple[int, str]:
        """Bytes that a query must read, and ``all``, or ``at least`` where the rest cannot be counted."""

    def elsewhere_bytes(self) -> int:
        """Memory of other processes that it works with."""
        return 0

    def disk_bytes(self) -> int:
        """What it keeps on disk and reads when it is asked."""
        return 0

    def close(self) -> None:  # noqa: B027 - most have started nothing
        """Stop what it has started."""


def named(path: str) -> type[Searcher]:
    """The class at ``module:Name``."""
    module, _, name = path.partition(":")
    found: type[Searcher] = getattr(import_module(module), name)
    return found


def path_of(kind: type[Searcher]) -> str:
    """``module:Name``, for ``named``."""
    return f"{kind.__module__}:{kind.__name__}"


def missing(*modules: str) -> str | None:
    """Which of these cannot be imported, in words, or None."""
    for module in modules:
        try:
            import_module(module)
        except Exception as error:  # a library may fail in its own way
            return f"{module} cannot be imported: {type(error).__name__}: {error}".splitlines()[0]
    return None
