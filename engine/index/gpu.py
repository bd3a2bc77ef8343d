"""Search on a graphics card: it proposes, in 16-bit floats, and the flat index in main memory decides, in float32.

More candidates than are wanted come from the card, and are scored again by their float32 vectors; ``device.py`` knows
whether FAISS or torch drives it. Neither code has met a GPU where it was written, so a card proves itself before it
serves (``proof.py``) and is watched while it does: after an error, an answer that cannot be one, or a score farther off
than 16 bits explain, the flat index answers. That is said once, ``refused`` holds the reason, and whoever holds the
index puts one in its place that suits the processor (``LiveIndex.displaced``).
"""

from __future__ import annotations

import logging
import threading
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.index.base import FirstMomentIndex, Float32, Int64
from engine.index.device import BATCH, LARGEST_K, DeviceFactory, error_to_text, require_device
from engine.index.dispatcher import Dispatcher
from engine.index.flat import FlatIndex
from engine.index.proof import find_fault, malformed, mistaken, rounding, rows_to_scores

log = logging.getLogger("engine.index")
MARGIN = 32
"""More candidates than answers that come from the card."""
NUMBERS = 2**24
"""Numbers of candidates' vectors that are in memory at a time: 64 MB."""


class GpuIndex(FirstMomentIndex):
    """A flat index whose candidates come from a card. Filters, and more than 2 016 answers, are served by the flat one.

    With recall 1 it is exact: should the last candidate be within rounding of the last answer, the flat index is asked.
    """

    kind: ClassVar[str] = "gpu"
    exact: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = FlatIndex.files

    def __init__(self, flat: FlatIndex, card: Dispatcher | None = None) -> None:
        """``card`` holds the vectors of ``flat``; without one, the flat index answers."""
        self.flat = flat
        self._card = card
        self._lock = threading.Lock()

    @classmethod
    def build(cls, ids: Int64, vectors: Float32, *, dimension: int) -> GpuIndex:
        """See the base class.

        Raises:
            MissingDependency: there is no GPU that FAISS or torch can use.
        """
        return cls.proven(FlatIndex.build(ids, vectors, dimension=dimension), require_device())

    @classmethod
    def proven(cls, flat: FlatIndex, make: DeviceFactory) -> GpuIndex:
        """Of these vectors, on a card that has answered its probes; else without one, and ``refused`` says why."""
        index = cls(flat)
        if len(flat) <= MARGIN + 1:  # it would never be asked
            return index
        try:
            index._card = Dispatcher(partial(make, flat.matrix))
            fault = find_fault(index._card.search, flat, flat.matrix, index.longest)
        except Exception as error:
            fault = error_to_text(error)
        if fault:
            index._refuse(fault)
        return index

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See the base class."""
        width, card = k + MARGIN, self._card
        if card is None or allowed is not None or width > LARGEST_K or width >= len(self):
            return self.flat.search(queries, k, allowed=allowed, recall=recall)
        lengths = np.linalg.norm(queries, axis=1)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            return self.flat.search(queries, k)
        step = min(BATCH, max(NUMBERS // (width * self.dimension), 1))
        try:
            answers = [
                self._refined(card, queries[at : at + step], lengths[at : at + step, None], k, recall)
                for at in range(0, len(queries), step)
            ]
        except Exception as error:
            self._refuse(error_to_text(error))
            return self.flat.search(queries, k)
        if not answers:
            return self.flat.search(queries, k)
        return np.concatenate([scores for scores, _ in answers]), np.concatenate([ids for _, ids in answers])

    def _refined(
        self, card: Dispatcher, queries: Float32, lengths: Float32, k: int, recall: float
    ) -> tuple[Float32, Int64]:
        """Raises: ValueError: the card's answers cannot be right."""
        rough, rows = card.search(queries / lengths, k + MARGIN)
        fault = malformed(rough, rows, (len(queries), k + MARGIN), len(self))
        if fault:
            raise ValueError(fault)
        scores = rows_to_scores(self.flat.matrix, rows, queries)
        rough, error = rough * lengths, rounding(self.longest) * lengths
        fault = mistaken(rough, scores, error)
        if fault:
            raise ValueError(fault)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, ids = np.take_along_axis(scores, order, axis=1), self.flat.ids[np.take_along_axis(rows, order, axis=1)]
        if recall >= 1:
            unsure = np.flatnonzero(rough[:, -1] + error[:, 0] >= best[:, -1])
            if len(unsure):
                best[unsure], ids[unsure] = self.flat.search(np.ascontiguousarray(queries[unsure]), k)
        return best, ids

    @cached_property
    def longest(self) -> float:
        """The largest length of a vector."""
        return max(float(np.sqrt(np.einsum("nd,nd->n", rows, rows).max())) for rows in self.flat.blocks())

    def _refuse(self, why: str) -> None:
        """Go on without the card. Several searches may fail at once: it is said once."""
        with self._lock:
            if self.refused:
                return
            self.refused, self._card = f"the GPU was given up: {why}", None
        log.warning("%s; %d models are searched on the CPU (engine index build tries again)", self.refused, len(self))

    def flat_again(self) -> FlatIndex:
        """The flat index beside the card, which knows why the card was refused, if it was."""
        self.flat.refused = self.refused
        return self.flat

    # What is not searching is the flat index's.

    @property
    def ids(self) -> Int64:
        """Ids in row order."""
        return self.flat.ids

    @property
    def dimension(self) -> int:
        """See the base class."""
        return self.flat.dimension

    def updated(self, ids: Int64, vectors: Float32, removed: Int64) -> FlatIndex:
        """See the base class. The card is filled once the kind has been chosen."""
        return self.flat.updated(ids, vectors, removed)

    def vectors(self, ids: Int64) -> Float32:
        """See the base class."""
        return self.flat.vectors(ids)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See the base class."""
        return self.flat.moments()

    def save(self, folder: Path) -> None:
        """See the base class."""
        self.flat.save(folder)

    @classmethod
    def load(cls, folder: Path, *, dimension: int) -> GpuIndex:
        """See the base class. The card is not touched: ``proven`` fills it."""
        return cls(FlatIndex.load(folder, dimension=dimension))
