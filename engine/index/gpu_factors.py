"""Factors resident on a graphics card: unpacked, scored for a shortlist by one batched product.

The records of the mapped file are unpacked to full triangles ``(d, d)`` float32, d² · 4 bytes each, when they are first
asked for, and stay on the card within a byte budget, by recency. A shortlist's distances are then one gather and one
batched matrix-vector product. Nothing is dropped: reading all of it is what a card is good at.

Written for CUDA and tested on torch's CPU device, by the same code; it has not been run on a card.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class GpuFactors:
    """Unpacked factors of one store on one torch device, within ``budget`` bytes. Threads may share it."""

    def __init__(self, dimension: int, budget: int, device: str) -> None:
        """Take no memory yet.

        Raises:
            InvalidInput: torch knows no such device, or has none here.
        """
        import torch

        self.dimension = dimension
        self.slots = budget // (4 * dimension * dimension + 8)
        try:
            self._device = torch.device(device)
            self._triangles: Any = torch.empty((0, dimension, dimension), dtype=torch.float32, device=self._device)
        except (RuntimeError, AssertionError) as error:
            raise InvalidInput(
                f"densities cannot be computed on {device!r}: {str(error).splitlines()[0]}",
                hint="set rerank_device to cpu, or to a device that torch has here",
            ) from error
        self._log_dets: Any = torch.empty(0, dtype=torch.float64, device=self._device)
        self._places: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def lacks(self, ids: Int64, changes: Int64) -> NDArray[np.bool_]:
        """Which of the models' factors, of these changes, are not on the card ``(n,)``."""
        with self._lock:
            pairs = zip(ids.tolist(), changes.tolist(), strict=True)
            return np.array([pair not in self._places for pair in pairs], bool)

    def use(self, model_id: int, change: int) -> None:
        """Say that a factor that is on the card is needed still."""
        with self._lock:
            self._places.move_to_end((model_id, change))

    def put(self, ids: Int64, changes: Int64, triangles: Float32, log_dets: Float64) -> None:
        """Copy factors ``(n, d, d)`` to the card, in place of those that were used least recently; n ≤ ``slots``."""
        import torch

        assert len(ids) <= self.slots, "more than there is room for"
        with self._lock:
            places = []
            for pair in zip(ids.tolist(), changes.tolist(), strict=True):
                if len(self._places) < self.slots:
                    place = len(self._places)
                else:
                    _, place = self._places.popitem(last=False)
                self._places[pair] = place
                places.append(place)
            self._grow(max(places) + 1)
            at = torch.tensor(places, device=self._device)
            self._triangles[at] = torch.from_numpy(np.ascontiguousarray(triangles)).to(self._device)
            self._log_dets[at] = torch.from_numpy(np.ascontiguousarray(log_dets)).to(self._device)

    def distances(self, ids: Int64, changes: Int64, differences: Float32) -> Float64:
        """‖L⁻¹z‖² + log det Σ ``(n,)`` of models that are on the card; ``differences`` z ``(n, d)``."""
        import torch

        with self._lock:
            pairs = list(zip(ids.tolist(), changes.tolist(), strict=True))
            for pair in pairs:
                self._places.move_to_end(pair)
            at = torch.tensor([self._places[pair] for pair in pairs], device=self._device)
            z = torch.from_numpy(np.ascontiguousarray(differences)).to(self._device)
            rows = torch.bmm(self._triangles[at], z.unsqueeze(2)).squeeze(2)
            found: Float64 = (rows.double().square().sum(dim=1) + self._log_dets[at]).cpu().numpy()
            return found

    def _grow(self, count: int) -> None:
        """Room for so many, at least doubled each time: a small collection does not take the whole budget."""
        import torch

        have = len(self._triangles)
        if count <= have:
            return
        room = min(max(count, 2 * have), self.slots)
        shape = (room, self.dimension, self.dimension)
        triangles = torch.empty(shape, dtype=torch.float32, device=self._device)
        log_dets = torch.empty(room, dtype=torch.float64, device=self._device)
        triangles[:have], log_dets[:have] = self._triangles, self._log_dets
        self._triangles, self._log_dets = triangles, log_dets
