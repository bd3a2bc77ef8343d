"""What all vectors of a quantized index share: the basis, the cells, and how numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.index.base import Float32, Int64
from engine.index.quantized.codes import LANES, Bytes, Layout, interleaved, packed, variances_to_layout

AROUND = 0.4
"""A cell's best vector is better than its centroid, the more so the wider the cell: by so many spreads. Between 0.3 and
0.5 it makes no difference; without, twice as many cells must be searched."""


@dataclass(frozen=True, eq=False)
class Partition:
    """What is the same for all vectors: the basis, the cells and how numbers are written.

    Attributes:
        rotation: ``(d, d)`` float32, whose rows are the basis.
        centroids: ``(cells, d)`` float32, in that basis.
        layout: of the codes.
        long: the layout of the long codes.
        fine_steps: what one unit of a row's number is worth ``(d,)`` float32.
        spreads: how far vectors are from their cell's centroid, as a root mean square ``(cells,)`` float32.
        trained: how many models the cells were made for.
    """

    rotation: Float32
    centroids: Float32
    layout: Layout
    long: Layout
    fine_steps: Float32
    spreads: Float32
    trained: int

    @cached_property
    def cuts(self) -> Int64:
        """Where the numbers of long codes that have 4, 2, 1 and no bits end ``(4,)``."""
        ends = [int((self.long.bits >= width).sum()) for width in (4, 2, 1)]
        return np.array([*ends, self.centroids.shape[1]], np.int64)

    def lengths(self, residuals: Float32, codes: Bytes) -> Float32:
        """How far long codes ``(n, coded)`` are from residuals ``(n, d)``, by the sections that ``cuts`` end, and how
        long they are themselves, in steps ``(n, 5)``."""
        missed = residuals.copy()
        missed[:, : codes.shape[1]] -= self.long.decoded(codes)
        ends = self.cuts.tolist()
        sections = [missed[:, first:end] for first, end in zip([0, *ends[:3]], ends, strict=True)]
        sections.append(codes - self.long.halves)
        return np.stack([np.linalg.norm(part, axis=1) for part in sections], axis=1).astype(np.float32)

    @cached_property
    def centre(self) -> Float32:
        """The centroids' mean ``(d,)``."""
        return np.asarray(self.centroids.mean(axis=0), np.float32)

    @cached_property
    def bonus(self) -> Float32:
        """What a cell's centroid is helped by when cells are ranked, for a query of length one ``(cells,)``."""
        return np.asarray(AROUND * self.spreads, np.float32)

    @cached_property
    def coarse_steps(self) -> Float32:
        """What one unit of a coarse code is worth ``(d,)``."""
        return np.asarray(np.abs(self.centroids - self.centre).max(axis=0) / 127 + 1e-12, np.float32)

    @cached_property
    def coarse(self) -> NDArray[np.int8]:
        """The centroids' distances from their mean in numbers of 8 bits ``(cells, d)``."""
        return np.asarray(np.rint((self.centroids - self.centre) / self.coarse_steps), np.int8)

    @cached_property
    def _rough(self) -> tuple[Int64, Layout, Bytes]:
        away = self.centroids - self.centre
        variances = np.einsum("cd,cd->d", away, away).astype(np.float64) / len(away)
        order = np.argsort(-variances, kind="stable")
        layout = variances_to_layout(variances[order])
        coded = order[: len(layout.bits)]
        codes = packed(layout.codes(away[:, coded]), layout.counts)
        filled = np.zeros((-(-len(codes) // LANES) * LANES, *codes.shape[1:]), np.uint8)
        filled[: len(codes)] = codes
        return coded, layout, interleaved(filled)

    @property
    def rough(self) -> Bytes:
        """The centroids' distances from their mean in short codes, in blocks."""
        return self._rough[2]

    @property
    def rough_layout(self) -> Layout:
        """Of these."""
        return self._rough[1]

    @property
    def rough_order(self) -> Int64:
        """Which numbers of the basis are coded, in the codes' order ``(coded,)``."""
        return self._rough[0]

    @cached_property
    def turning_steps(self) -> Float32:
        """What one unit of ``turning`` is worth ``(d,)``."""
        return np.asarray(np.abs(self.rotation).max(axis=1) / 32_767, np.float32)

    @cached_property
    def turning(self) -> NDArray[np.int16]:
        """``rotation`` in numbers of 16 bits ``(d, d)``: for one query, reading it takes longer than multiplying."""
        return np.asarray(np.rint(self.rotation / self.turning_steps[:, None]), np.int16)

    def rotated(self, vectors: Float32) -> Float32:
        """Vectors ``(n, d)`` in the basis."""
        return np.ascontiguousarray(vectors @ self.rotation.T, np.float32)


def arrays_to_partition(arrays: dict[str, NDArray[Any]], dimension: int) -> Partition:
    """Raises: ValueError: they are not what was saved."""
    try:
        rotation, centroids, fine_steps = (arrays[name] for name in ("rotation", "centroids", "fine_steps"))
        layout, long = (
            Layout(arrays[f"{of}counts"], arrays[f"{of}bits"], arrays[f"{of}steps"]) for of in ("", "long_")
        )
        spreads = arrays["spreads"]
        trained = int(arrays["trained"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("the index's partition is none") from error
    d = dimension
    shapes: dict[str, tuple[NDArray[Any], tuple[int, ...], type[np.generic]]] = {
        "rotation": (rotation, (d, d), np.float32),
        "centroids": (centroids, (len(centroids), d), np.float32),
        "fine_steps": (fine_steps, (d,), np.float32),
        "spreads": (spreads, (len(centroids),), np.float32),
    }
    for name, own in (("codes", layout), ("long codes", long)):
        shapes[f"counts of {name}"] = own.counts, (4,), np.int64
        shapes[f"bits of {name}"] = own.bits, (len(own.bits),), np.int64
        shapes[f"steps of {name}"] = own.steps, (len(own.bits),), np.float32
    for name, (array, shape, dtype) in shapes.items():
        if array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
            raise ValueError(f"{name} of shape {array.shape} and dtype {array.dtype} is not what was saved")
    for own in (layout, long):
        room = int(own.counts @ [4, 8, 16, 32])
        if (own.counts < 0).any() or not 0 < len(own.bits) <= min(room, d) or not len(centroids):
            raise ValueError("the index's codes are laid out in no way that there is")
    if not np.allclose(rotation @ rotation.T, np.eye(d), atol=1e-3):
        raise ValueError("its rotation is none")
    return Partition(rotation, centroids, layout, long, fine_steps, spreads, trained)
