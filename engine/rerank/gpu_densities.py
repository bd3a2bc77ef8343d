"""Densities of a shortlist on a graphics card: what is not there yet is copied to it, then all are scored at once.

The first shortlist of every store is scored by the processor too. Where the two differ, or the card fails, then or
later, the processor scores from there on; that is said once.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.index.device import error_to_text
from engine.index.gpu_factors import GpuFactors
from engine.rerank.density_records import PackedFactor, differences_at, distances_at
from engine.rerank.record_store import RecordStore

log = logging.getLogger("engine.search")
Addresses = NDArray[np.uint64]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
ALLOWED, SHARE = 1e-2, 1e-5
"""How far the card's ‖L⁻¹z‖² + log det Σ may be from the processor's, and what share of it: both work in float32."""


@dataclass(frozen=True)
class Card:
    """A torch device that factors are kept on, and how many bytes of it they may take."""

    device: str
    factor_bytes: int


class GpuDensities:
    """The factors of a collection's stores on one card. Threads may share it: one works at a time.

    ``refused`` says in words why the card is no longer used, or nothing.
    """

    def __init__(self, card: Card) -> None:
        self.card = card
        self.refused = ""
        self._cards: WeakKeyDictionary[RecordStore, GpuFactors] = WeakKeyDictionary()
        self._proven: WeakSet[RecordStore] = WeakSet()
        self._lock = threading.Lock()

    def distances(
        self, store: RecordStore, ids: Int64, changes: Int64, addresses: Addresses, query: Float64, turn: Float64 | None
    ) -> Float64 | None:
        """As ``distances_at``, nothing being dropped; None where there is no room for so many, or no card to trust.

        Raises:
            InvalidInput: torch has no such device.
        """
        with self._lock:
            if self.refused:
                return None
            try:
                found = self._distances(store, ids, changes, addresses, query, turn)
                if found is not None and not (store in self._proven and np.isfinite(found).all()):
                    known, _ = distances_at(addresses, query, len(ids), turn=turn)
                    allowed = ALLOWED + SHARE * (np.abs(known) + len(query))
                    if not (np.isnan(known) | (np.abs(found - known) <= allowed)).all():
                        raise ValueError(f"a distance is off by {np.abs(found - known).max():.2g}")
                    self._proven.add(store)
                return found
            except InvalidInput:
                raise
            except Exception as error:
                self.refused = error_to_text(error)
                self._cards.clear()
        log.warning("%s scores no more densities: %s; the processor does", self.card.device, self.refused)
        return None

    def _distances(
        self, store: RecordStore, ids: Int64, changes: Int64, addresses: Addresses, query: Float64, turn: Float64 | None
    ) -> Float64 | None:
        d = len(query)
        card = self._cards.get(store)
        if card is None:
            card = self._cards[store] = GpuFactors(d, self.card.factor_bytes, self.card.device)
        if not 0 < len(ids) <= card.slots:
            return None
        lacking = card.lacks(ids, changes)
        for model_id, change in zip(ids[~lacking].tolist(), changes[~lacking].tolist(), strict=True):
            card.use(model_id, change)
        if lacking.any():
            factors = [PackedFactor.at(address, d) for address in addresses[lacking].tolist()]
            triangles = np.stack([factor.square() for factor in factors])
            card.put(ids[lacking], changes[lacking], triangles, np.array([factor.log_det for factor in factors]))
        return card.distances(ids, changes, differences_at(addresses, query, turn))
