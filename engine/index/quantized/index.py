"""Approximate search in cells, by short codes, refined by rows of 16 bits; and exact search with the same codes.

Vectors lie sorted by cell (``cells.py``), each as a code of 64 bytes (``codes.py``) and as a row of 16 bits a number,
in the eigenbasis of the residuals. A search ranks the cells by their centroid's inner product, estimates the vectors of
the first ``probes`` cells by their codes, and scores the ``wanted`` best estimates by their rows. How many are needed
for a recall is measured when the index is built (``quantized_tuning.py``). An exact search bounds every vector by a
longer code, of 128 or 256 bytes, and reads the row of each that its bound does not exclude.
"""

from __future__ import annotations

import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.index.base import MISSING, Float32, Int64, RowsById
from engine.index.checked import BLOCK as ROWS_VERIFIED
from engine.index.checked import Checked, checksums, map_array
from engine.index.flat import BLOCK, array_to_file, file_to_array
from engine.index.partition import Partition, arrays_to_partition
from engine.index.quantized.calibrate import CalibratedIndex, tuned
from engine.index.quantized.codes import variances_to_layout, variances_to_long
from engine.index.quantized.kmeans_cells import SAMPLE, SEED, blocks, nearest, vectors_to_cells
from engine.index.quantized.query_families import RealQueries
from engine.index.quantized.rows import LARGEST, Filling, Rows, check_rows
from engine.index.quantized.tuning import Setting, Tuning

MAPPED = {"long": "u1", "fine": "<i2", "vectors": "<f4"}
"""Arrays that are mapped, and their dtypes."""
FEW = 20_000
"""So many allowed models are all scored by their rows."""
HEADROOM = 1.5
"""Of the rows' range over what a sample needs: what comes later has room."""
GROWN = 1.5
"""Times the models that the cells were made for, from which on they are made anew."""
TOGETHER = 8
"""Queries from which on a batch is worth several threads."""


class QuantizedIndex(CalibratedIndex):
    """See the module. Immutable; threads may share it, the compiled loops run without the interpreter's lock."""

    kind: ClassVar[str] = "quantized"
    exact: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = (
        "ids.npy", "sizes.npy", "codes.npy", "errors.npy", *(f"{name}_sums.npy" for name in MAPPED),
        "partition.npz", "moments.npz", "tuning.json", "real.npy", *(f"{name}.npy" for name in MAPPED),
    )  # fmt: skip
    mapped: ClassVar[tuple[str, ...]] = tuple(f"{name}.npy" for name in MAPPED)

    def __init__(
        self, partition: Partition, rows: Rows, tuning: Tuning | None = None, real: Float32 | None = None
    ) -> None:
        from engine.index.quantized import bound_kernel, scan_kernel

        self.partition = partition
        self.rows = rows
        self.real = np.empty((0, self.dimension), np.float32) if real is None else real
        self.tuning = Tuning(0, 0, ()) if tuning is None else tuning
        self._scan: Any = scan_kernel
        self._bound: Any = bound_kernel
        self._none = np.empty(0, np.bool_)
        self._setting = lru_cache(maxsize=64)(self.tuning.setting)

    @classmethod
    def build(
        cls, ids: Int64, vectors: Float32, *, dimension: int, real: RealQueries | None = None
    ) -> QuantizedIndex:  # fmt: skip
        """See the base class. Trains the partition, and measures what each recall costs."""
        assert vectors.shape == (len(ids), dimension), "one vector an id"
        index = cls._coded(np.asarray(ids, np.int64), np.asarray(vectors, np.float32))
        index.real = index.real if real is None else np.asarray(real(), np.float32)
        return cls(index.partition, index.rows, tuned(index), index.real)

    @classmethod
    def _coded(cls, ids: Int64, vectors: Float32) -> QuantizedIndex:
        if not len(ids):
            d = vectors.shape[1]
            layout = variances_to_layout(np.ones(d))
            flat = np.zeros((1, d), np.float32)
            basis, steps = np.eye(d, dtype=np.float32), np.full(d, 1e-4, np.float32)
            one = Partition(basis, flat, layout, layout, steps, flat[:, 0], 0)
            return cls(one, Filling(one, np.zeros(1, np.int64)).done())
        cells = vectors_to_cells(vectors)
        sizes = np.bincount(cells)
        order = np.argsort(cells, kind="stable")
        centroids = np.zeros((len(sizes), vectors.shape[1]), np.float32)
        spreads = np.zeros(len(sizes), np.float32)
        for cell, members in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
            if len(members):
                own = vectors[members]
                centroids[cell] = own.mean(axis=0)
                spreads[cell] = np.sqrt(np.mean(np.sum(np.square(own - centroids[cell]), axis=1)))
        rng = np.random.default_rng(SEED)
        sample = np.sort(rng.choice(len(ids), min(len(ids), SAMPLE * 2048), replace=False))
        residuals = (vectors[sample] - centroids[cells[sample]]).astype(np.float64)
        variances, basis = np.linalg.eigh(residuals.T @ residuals / len(sample))
        rotation = np.ascontiguousarray(basis[:, ::-1].T, np.float32)
        variances = np.maximum(variances[::-1], 0.0)
        layout = variances_to_layout(variances)
        long = variances_to_long(variances, float(np.sqrt(np.mean(np.sum(np.square(vectors[sample]), axis=1)))))
        reach = np.abs(vectors[sample] @ rotation.T).max(axis=0)
        while True:
            steps = (HEADROOM * np.maximum(reach, 1e-6) / LARGEST).astype(np.float32)
            partition = Partition(rotation, centroids @ rotation.T, layout, long, steps, spreads, len(ids))
            filling = Filling(partition, sizes)
            beyond = [
                filling.put(ids[rows], vectors[rows], cells[rows])
                for rows in np.array_split(order, 1 + len(ids) // BLOCK)
            ]
            if all(least is None for least in beyond):
                return cls(partition, filling.done())
            reach = np.maximum.reduce([reach, *(least for least in beyond if least is not None)])

    def updated(self, ids: Int64, vectors: Float32, removed: Int64) -> QuantizedIndex:
        """See the base class. Costs one copy; the cells are made anew when the collection has outgrown them."""
        ids, vectors = np.asarray(ids, np.int64), np.asarray(vectors, np.float32)
        gone = np.concatenate([np.asarray(removed, np.int64), ids])
        kept = np.flatnonzero((self.rows.ids != MISSING) & ~np.isin(self.rows.ids, gone))
        cells = self.rows.cell_of[kept]
        homes = (
            nearest(self.partition.rotated(vectors), self.partition.centroids) if len(ids) else np.empty(0, np.int64)
        )
        total = len(kept) + len(ids)
        if total <= GROWN * self.partition.trained:
            sizes = np.bincount(np.concatenate([cells, homes]), minlength=len(self.rows.sizes))
            filling = Filling(self.partition, sizes)
            filling.copy(self.rows, kept, cells)
            if filling.put(ids, vectors, homes) is None:
                return QuantizedIndex(self.partition, filling.done(), self.tuning, self.real)
        everything = np.concatenate([self.rows.vectors_of(kept), vectors])
        return QuantizedIndex.build(
            np.concatenate([self.rows.ids[kept], ids]), everything, dimension=self.dimension, real=lambda: self.real
        )  # fmt: skip

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See the base class."""
        setting = self._setting(k, recall) if recall < 1 else None
        places = None if allowed is None else self._places(allowed)
        if len(queries) >= TOGETHER and (threads := os.cpu_count() or 1) > 1:
            with ThreadPoolExecutor(threads) as pool:
                parts = np.array_split(queries, threads)
                found = list(pool.map(lambda part: self._several(part, k, places, setting), parts))
            return np.concatenate([scores for scores, _ in found]), np.concatenate([ids for _, ids in found])
        return self._several(queries, k, places, setting)

    def _several(
        self, queries: Float32, k: int, places: Int64 | None, setting: Setting | None
    ) -> tuple[Float32, Int64]:
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), MISSING, np.int64)
        for row, query in enumerate(queries):
            if setting is None:
                self._exactly(query, scores[row], ids[row], places)
            else:
                self._nearly(query, scores[row], ids[row], places, setting)
        return scores, ids

    def _nearly(self, query: Float32, scores: Float32, ids: Int64, places: Int64 | None, setting: Setting) -> None:
        probes, wanted = setting.probes, min(max(setting.wanted, len(scores)), len(self.rows.ids))
        if places is None and self._scan.answered(query, *self._arrays, probes, wanted, scores, ids):
            return
        turned = self.turned(query)
        if places is not None and len(places) <= FEW:
            rows = places
        else:
            admitted = None if places is None else self._admitted(places)
            there = len(self) if places is None else len(places)
            probes = int(min(probes * len(self) / there, len(self.rows.sizes)))
            rows, _, _ = self.candidates(turned, probes, wanted, admitted)
            while len(rows) < min(len(scores), there) and probes < len(self.rows.sizes):
                probes *= 2  # so few cells do not hold so many
                rows, _, _ = self.candidates(turned, probes, wanted, admitted)
        found = np.empty(len(scores), np.int64)
        self._scan.refined(turned, self.rows.fine_of(rows), self.partition.fine_steps, rows, scores, found)
        np.take(self.rows.ids, found, out=ids, mode="clip")
        if found[-1] < 0:
            ids[found < 0] = MISSING

    def answers(self, query: Float32, k: int, setting: Setting) -> Int64:
        """The ids ``(k,)`` that a search for ``query`` ``(d,)`` by that setting finds, best first."""
        scores, ids = np.empty(k, np.float32), np.full(k, MISSING, np.int64)
        self._nearly(query, scores, ids, None, setting)
        return ids

    def _exactly(self, query: Float32, scores: Float32, ids: Int64, places: Int64 | None) -> None:
        k = len(scores)
        if places is None or len(places) > FEW:
            places = self._survivors(query, k, places)
        exact = self.rows.vectors_of(places) @ query
        best = np.argsort(-exact, kind="stable")[:k]
        scores[: len(best)] = exact[best]
        ids[: len(best)] = self.rows.ids[places[best]]

    def _survivors(self, query: Float32, k: int, places: Int64 | None) -> Int64:
        """The rows ``(n,)`` that may be among the k best."""
        turned = self.partition.rotated(query)
        admitted = None if places is None else self._admitted(places)
        start, _, _ = self.candidates(turned, 1 + len(self.rows.sizes) // 64, 20 * k, admitted)
        scores, found = np.empty(k, np.float32), np.empty(k, np.int64)
        partition, rows = self.partition, self.rows
        self._scan.refined(turned, rows.all_fine(), partition.fine_steps, start, scores, found)
        # Rows are rounded to whole steps, and sums to float32.
        margin = float(np.abs(turned) @ partition.fine_steps) / 2 + 1e-5 * float(np.linalg.norm(query)) * self._reach
        out = np.empty(len(rows.ids), np.int64)
        long = partition.long
        count = self._bound.survivors(
            turned, partition.centroids, rows.all_long(), long.counts, long.steps, long.halves, rows.starts,
            rows.sizes, rows.fine, partition.fine_steps, partition.cuts, rows.errors, np.float32(2 * margin),
            self._none if admitted is None else admitted, scores, found, out,
        )  # fmt: skip
        return out[:count]

    def candidates(
        self, turned: Float32, probes: int, wanted: int, admitted: NDArray[np.bool_] | None = None
    ) -> tuple[Int64, Float32, int]:
        """Rows ``(n,)`` with the best estimates, in no order, these, and how many codes were read.

        ``turned`` ``(d,)`` is the query in the partition's basis. At least ``wanted`` come if there are so many.
        """
        wanted = min(wanted, len(self.rows.ids))
        estimates = np.empty(self._scan.room(wanted), np.float32)
        places = np.empty(len(estimates), np.int64)
        count, scanned = self._scan.candidates(
            turned, *self._scanned, self._none if admitted is None else admitted, probes, wanted, estimates, places
        )
        return places[:count], estimates[:count], scanned

    def ranked_cells(self, turned: Float32, probes: int) -> Int64:
        """The ``probes`` cells that promise most for a query ``(d,)`` in the partition's basis, best first."""
        cells = len(self.rows.sizes)
        chosen, bases = np.empty(cells, np.int64), np.empty(cells, np.float32)
        count = self._scan.cells_ranked(turned, *self._scanned[:9], probes, chosen, bases)
        return chosen[:count]

    @cached_property
    def _arrays(self) -> tuple[Any, ...]:
        """What one compiled call answers a query by, in its order."""
        partition, rows = self.partition, self.rows
        verified = self._none if rows.fine_checked is None else rows.fine_checked.good
        return (
            partition.turning, partition.turning_steps, partition.fine_steps, rows.fine, rows.ids, verified,
            ROWS_VERIFIED, *self._scanned, self._none,
        )  # fmt: skip

    @cached_property
    def _scanned(self) -> tuple[Any, ...]:
        """What candidates are found by, in the compiled loops' order."""
        partition, rows = self.partition, self.rows
        layout, rough = partition.layout, partition.rough_layout
        return (
            partition.coarse, partition.coarse_steps, partition.centre, partition.bonus, partition.rough,
            partition.rough_order, rough.counts, rough.steps, rough.halves, rows.codes, layout.counts, layout.first,
            layout.steps, layout.halves, layout.spreads, rows.starts, rows.sizes,
        )  # fmt: skip

    def turned(self, query: Float32) -> Float32:
        """A query ``(d,)``, contiguous, in the partition's basis, but for the rounding of its vectors to 16 bits."""
        turned = np.empty(len(query), np.float32)
        self._scan.turned(self.partition.turning, self.partition.turning_steps, query, turned)
        return turned

    def vectors(self, ids: Int64) -> Float32:
        """See the base class."""
        result = np.full((len(ids), self.dimension), np.nan, np.float32)
        rows = self._by_id.find(ids)
        there = rows >= 0
        result[there] = self.rows.vectors_of(rows[there])
        return result

    def _places(self, allowed: Int64) -> Int64:
        rows = self._by_id.find(np.unique(np.asarray(allowed, np.int64)))
        return rows[rows >= 0]

    def _admitted(self, places: Int64) -> NDArray[np.bool_]:
        admitted = np.zeros(len(self.rows.ids), np.bool_)
        admitted[places] = True
        return admitted

    @cached_property
    def _by_id(self) -> RowsById:
        return RowsById(self.rows.ids)

    @cached_property
    def _reach(self) -> float:
        """No vector is longer, as far as a sample says, with room to spare."""
        return 4.0 * float(np.sqrt(np.einsum("cd,cd->c", self.partition.centroids, self.partition.centroids).max()) + 1)

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, second = np.zeros(self.dimension), np.zeros((self.dimension, self.dimension))
        for rows in blocks(self.rows.all_vectors()):  # rows of no model are zero
            mean += rows.sum(axis=0, dtype=np.float64)
            second += rows.T @ rows
        total = max(len(self), 1)
        return mean / total, second / total

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See the base class."""
        return self._moments

    def save(self, folder: Path) -> None:
        """See the base class."""
        rows, partition = self.rows, self.partition
        for name in ("ids", "sizes", "codes", "errors"):
            array_to_file(getattr(rows, name), folder / f"{name}.npy")
        for name, array in (("long", rows.all_long()), ("fine", rows.all_fine()), ("vectors", rows.all_vectors())):
            array_to_file(array, folder / f"{name}.npy")
            array_to_file(checksums(array), folder / f"{name}_sums.npy")
        with (folder / "partition.npz").open("wb") as stream:
            np.savez(
                stream, rotation=partition.rotation, centroids=partition.centroids, fine_steps=partition.fine_steps,
                counts=partition.layout.counts, bits=partition.layout.bits, steps=partition.layout.steps,
                long_counts=partition.long.counts, long_bits=partition.long.bits, long_steps=partition.long.steps,
                spreads=partition.spreads, trained=np.int64(partition.trained),
            )  # fmt: skip
        mean, second = self.moments()
        with (folder / "moments.npz").open("wb") as stream:
            np.savez(stream, mean=mean, second=second)
        array_to_file(self.real, folder / "real.npy")
        (folder / "tuning.json").write_text(json.dumps(self.tuning.to_json()), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, dimension: int) -> QuantizedIndex:
        """See the base class. Rows and vectors are mapped, and verified as they are read."""
        partition = arrays_to_partition(_read_arrays(folder / "partition.npz"), dimension)
        ids = file_to_array(folder / "ids.npy", np.dtype("<i8"))
        sizes = file_to_array(folder / "sizes.npy", np.dtype("<i8"))
        codes = file_to_array(folder / "codes.npy", np.dtype("u1"))
        errors = file_to_array(folder / "errors.npy", np.dtype("<f4"))
        arrays = {name: map_array(folder / f"{name}.npy", np.dtype(kind)) for name, kind in MAPPED.items()}
        checked = [
            Checked(array, file_to_array(folder / f"{name}_sums.npy", np.dtype("<u4")), folder / f"{name}.npy")
            for name, array in arrays.items()
        ]
        rows = Rows(ids, sizes, codes, errors, arrays["long"], arrays["fine"], arrays["vectors"], *checked)
        check_rows(rows, partition)
        tuning = Tuning.from_json(json.loads((folder / "tuning.json").read_text(encoding="utf-8")))
        moments = _read_arrays(folder / "moments.npz")
        shapes = {name: (array.shape, array.dtype.str) for name, array in moments.items()}
        if shapes != {"mean": ((dimension,), "<f8"), "second": ((dimension, dimension), "<f8")}:
            raise ValueError(f"moments of shapes {shapes} do not go with dimension {dimension}")
        for one in checked[:2]:
            one.ensure_behind()
        real = file_to_array(folder / "real.npy", np.dtype("<f4"))
        if real.ndim != 2 or real.shape[1] != dimension:
            raise ValueError(f"real queries of shape {real.shape} do not go with dimension {dimension}")
        index = cls(partition, rows, tuning, real)
        index._arrays  # noqa: B018  what is derived from the centroids is made now, not at the first search
        index.__dict__["_moments"] = moments["mean"], moments["second"]  # what is computed otherwise, from every vector
        return index

    @property
    def dimension(self) -> int:
        """See the base class."""
        return int(self.partition.centroids.shape[1])

    @property
    def ids(self) -> Int64:
        """Ids in row order."""
        return self._ids

    @cached_property
    def _ids(self) -> Int64:
        return np.asarray(self.rows.ids[self.rows.ids != MISSING])

    def __len__(self) -> int:
        return int(self.rows.sizes.sum())


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What ``np.savez`` wrote, without pickles.

    Raises:
        OSError, ValueError: it is not that.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, KeyError, AttributeError, EOFError) as error:
        raise ValueError(f"{path.name} holds no arrays: {error}") from error
