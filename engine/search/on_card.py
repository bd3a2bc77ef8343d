"""Densities of a shortlist on a graphics card: what is not there yet is copied to it, then all are scored at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from engine.index import FactorStore
from engine.index.card import CardFactors
from engine.scores.packed_density import PackedFactor, differences_at

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Card:
    """A torch device that factors are kept on, and how many bytes of it they may take."""

    device: str
    factor_bytes: int


class OnCard:
    """The factors of a collection's stores on one card. Threads may share it: one works at a time."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self._cards: WeakKeyDictionary[FactorStore, CardFactors] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def distances(
        self,
        store: FactorStore,
        ids: Int64,
        changes: Int64,
        addresses: NDArray[np.uint64],
        query: Float64,
        turn: Float64 | None,
    ) -> Float64 | None:
        """As ``distances_at``, nothing being dropped; None where there is no room for so many.

        Raises:
            InvalidInput: torch has no such device.
        """
        d = len(query)
        with self._lock:
            card = self._cards.get(store)
            if card is None:
                card = self._cards[store] = CardFactors(d, self.card.factor_bytes, self.card.device)
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
