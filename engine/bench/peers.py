"""Libraries of vector search that are measured beside the engine where they are installed.

FAISS comes with the engine; ``hnswlib``, ``usearch`` and ``scann`` are measured if they can be imported. Grids are
kept as data. Builds use every core, searches one thread; all are asked for inner products of unit vectors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.bench.searcher import Float32, Int64, Searcher, Setting, missing

PROBES = (
    (1 / 128, 16), (1 / 64, 16), (3 / 128, 8), (1 / 32, 16), (3 / 64, 16), (1 / 16, 32), (25 / 256, 32), (1 / 8, 32),
    (1 / 4, 32),
)  # fmt: skip
"""Of an inverted file: the share of lists that is probed, and how many answers are refined for each that is wanted."""
FINER = 500_000
"""Models from which on an inverted file with twice as many lists is tried too: as many as the engine's cells."""
REFINED = (4, 8, 16, 32, 64)
"""The same of exhaustive codes."""
WIDTHS = (16, 32, 64, 128, 256, 512)
"""Of a graph: how many candidates a search keeps."""


def lists(n: int) -> int:
    """How many lists an inverted file gets: 4 √n as a power of two, 4096 for a million, of 39 vectors at least.

    FAISS wants so many a list to train on.
    """
    most = int(np.log2(max(n / 39, 1)))
    return 1 << min(round(float(np.log2(4 * np.sqrt(max(n, 1))))), most)


class FaissFlat(Searcher):
    """``faiss.IndexFlatIP``: the yardstick, as a row of its own."""

    exact: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu", "faiss-gpu")
    index: Any

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        import faiss

        self._faiss: Any = faiss
        self._make(vectors)

    def _make(self, vectors: Float32) -> None:
        self.index = self._faiss.IndexFlatIP(self.dimension)
        self.index.add(np.ascontiguousarray(vectors))

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        rows: Int64 = self.index.search(query, k)[1]
        return rows

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """See the base class."""
        self._faiss.omp_set_num_threads(threads)
        try:
            return self.index.search(queries, k)
        finally:
            self._faiss.omp_set_num_threads(1)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Every number, once."""
        return 4 * self.n * self.dimension, "all"


class FaissFactory(FaissFlat):
    """Codes that are scanned, all of them or some lists', and vectors in half precision that rank the best of them."""

    exact: ClassVar[bool] = False

    @classmethod
    def variants(cls, n: int) -> Sequence[str]:
        """Factory strings."""
        found = ["RaBitQfs,Refine(SQfp16)"]
        if n >= 1000:
            found += [f"IVF{lists(n)},RaBitQfs,Refine(SQfp16)", f"IVF{lists(n)},PQ128x4fs,Refine(SQfp16)"]
        if n >= FINER:
            found.append(f"IVF{2 * lists(n)},RaBitQfs,Refine(SQfp16)")
        return found

    def _make(self, vectors: Float32) -> None:
        faiss = self._faiss
        self.index = faiss.index_factory(self.dimension, self.variant, faiss.METRIC_INNER_PRODUCT)
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        try:
            sample = np.random.default_rng(0).permutation(self.n)[: 64 * lists(self.n)]
            self.index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
            for start in range(0, self.n, 65_536):
                self.index.add(np.ascontiguousarray(vectors[start : start + 65_536]))
        finally:
            faiss.omp_set_num_threads(1)
        self._codes = faiss.downcast_index(self.index.base_index)
        self._lists = self._codes.nlist if self.variant.startswith("IVF") else 0

    def settings(self) -> Sequence[Setting]:
        """See ``PROBES`` and ``REFINED``."""
        if not self._lists:
            return [{"k_factor": factor} for factor in REFINED]
        pairs = dict.fromkeys((max(round(share * self._lists), 1), factor) for share, factor in PROBES)
        return [{"nprobe": probes, "k_factor": factor} for probes, factor in pairs]

    def use(self, setting: Setting) -> None:
        """See the base class."""
        super().use(setting)
        self.index.k_factor = float(setting["k_factor"])
        if self._lists:
            self._codes.nprobe = int(setting["nprobe"])

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Centroids, the codes of the lists probed (taken as equally long), and the vectors that are refined."""
        share = self.setting["nprobe"] / self._lists if self._lists else 1.0
        refined = min(int(k * self.setting["k_factor"]), self.n)
        codes = share * self.n * self._codes.code_size
        return int(4 * self._lists * self.dimension + codes + 2 * refined * self.dimension), "all"


class FaissGpu(FaissFlat):
    """``faiss.GpuIndexFlatIP`` in single or half precision; answers are on the host when the clock stops."""

    @classmethod
    def absent(cls) -> str | None:
        """Whether FAISS sees a GPU."""
        import faiss

        count = getattr(faiss, "get_num_gpus", lambda: 0)()
        return None if count else "FAISS sees no GPU"

    @classmethod
    def variants(cls, n: int) -> Sequence[str]:
        """Precisions."""
        return ("float32", "float16")

    def _make(self, vectors: Float32) -> None:
        faiss = self._faiss
        resources = faiss.StandardGpuResources()
        resources.setTempMemory(256 * 2**20)
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = self.variant == "float16"
        self.index = faiss.GpuIndexFlatIP(resources, self.dimension, config)
        self._resources = resources
        for start in range(0, self.n, 65_536):
            self.index.add(np.ascontiguousarray(vectors[start : start + 65_536]))

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Every number, once, in the GPU's memory: against the host's bandwidth this is no floor but a comparison."""
        return (2 if self.variant == "float16" else 4) * self.n * self.dimension, "all"


class HnswLib(Searcher):
    """``hnswlib``: a graph over vectors in single precision, M 16, 200 candidates while it is built."""

    packages: ClassVar[tuple[str, ...]] = ("hnswlib",)
    LINKS, BUILDING = 16, 200

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("hnswlib")

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        import hnswlib

        self._index = hnswlib.Index(space="ip", dim=self.dimension)
        self._index.init_index(self.n, ef_construction=self.BUILDING, M=self.LINKS, random_seed=0)
        for start in range(0, self.n, 65_536):
            block = np.ascontiguousarray(vectors[start : start + 65_536])
            self._index.add_items(block, np.arange(start, start + len(block)), num_threads=os.cpu_count() or 1)

    def settings(self) -> Sequence[Setting]:
        """See ``WIDTHS``."""
        return [{"ef": width} for width in WIDTHS if width <= max(self.n, WIDTHS[0])]

    def use(self, setting: Setting) -> None:
        """See the base class."""
        super().use(setting)
        self._index.set_ef(setting["ef"])

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        return np.asarray(self._index.knn_query(query, k, num_threads=1)[0], np.int64)

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """See the base class."""
        return self._index.knn_query(queries, k, num_threads=threads)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """The candidates that are kept have been read, with their links."""
        kept = min(self.setting["ef"], self.n)
        return kept * (4 * self.dimension + 8 * self.LINKS), "at least"


class USearch(Searcher):
    """``usearch``: a graph over vectors in half precision, connectivity 16, 128 candidates while it is built."""

    packages: ClassVar[tuple[str, ...]] = ("usearch",)
    LINKS, BUILDING = 16, 128

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("usearch.index")

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        from usearch.index import Index

        self._index: Any = Index(
            ndim=self.dimension, metric="ip", dtype="f16", connectivity=self.LINKS, expansion_add=self.BUILDING
        )
        for start in range(0, self.n, 65_536):
            block = np.ascontiguousarray(vectors[start : start + 65_536])
            self._index.add(np.arange(start, start + len(block)), block, threads=os.cpu_count() or 1)

    def settings(self) -> Sequence[Setting]:
        """See ``WIDTHS``."""
        return [{"expansion": width} for width in WIDTHS if width <= max(self.n, WIDTHS[0])]

    def use(self, setting: Setting) -> None:
        """See the base class."""
        super().use(setting)
        self._index.expansion_search = setting["expansion"]

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        return padded(np.asarray(self._index.search(query[0], k, threads=1).keys, np.int64), k)

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """See the base class."""
        return self._index.search(queries, k, threads=threads)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """The candidates that are kept have been read, with their links."""
        kept = min(self.setting["expansion"], self.n)
        return kept * (2 * self.dimension + 8 * self.LINKS), "at least"


class Scann(Searcher):
    """``scann``: leaves, anisotropic 4-bit codes of two dimensions each, and vectors that rank the best of them."""

    packages: ClassVar[tuple[str, ...]] = ("scann",)
    BLOCK = 2
    FEW = 5000
    """Vectors below which everything is scanned: there is no tree."""

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("scann")

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        import scann

        self._leaves = lists(self.n) if self.n >= self.FEW else 0
        builder = scann.scann_ops_pybind.builder(np.ascontiguousarray(vectors), 10, "dot_product")
        builder = builder.set_n_training_threads(os.cpu_count() or 1)
        if self._leaves:
            sample = min(self.n, 250_000)
            builder = builder.tree(self._leaves, max(self._leaves // 40, 1), training_sample_size=sample)
        if self.n >= 1000:
            builder = builder.score_ah(self.BLOCK, anisotropic_quantization_threshold=0.2).reorder(100)
        else:
            builder = builder.score_brute_force()
        self._index = builder.build()

    def settings(self) -> Sequence[Setting]:
        """Leaves and vectors to rank anew."""
        if self._leaves:
            pairs = ((1 / 80, 100), (1 / 40, 100), (1 / 40, 200), (1 / 20, 200), (1 / 10, 300), (1 / 4, 300))
            return [{"leaves": max(round(a * self._leaves), 1), "reorder": b} for a, b in pairs]
        return [{"reorder": b} for b in (40, 100, 300)] if self.n >= 1000 else [{}]

    def _given(self, k: int) -> dict[str, Any]:
        given: dict[str, Any] = {"final_num_neighbors": k}
        if "reorder" in self.setting:
            given["pre_reorder_num_neighbors"] = self.setting["reorder"]
        if "leaves" in self.setting:
            given["leaves_to_search"] = self.setting["leaves"]
        return given

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        return padded(np.asarray(self._index.search(query[0], **self._given(k))[0], np.int64), k)

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """See the base class."""
        self._index.set_num_threads(threads)
        return self._index.search_batched_parallel(queries, **self._given(k))

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Centroids, the codes of the leaves searched (taken as equally full), and the vectors ranked anew."""
        if self.n < 1000:
            return 4 * self.n * self.dimension, "all"
        share = self.setting["leaves"] / self._leaves if self._leaves else 1.0
        codes = share * self.n * self.dimension / self.BLOCK / 2
        return int(4 * self._leaves * self.dimension + codes + 4 * self.setting["reorder"] * self.dimension), "all"


def padded(rows: Int64, k: int) -> Int64:
    """Rows ``(found,)`` to ``(1, k)`` with −1 for those that were not found."""
    found = np.full((1, k), -1, np.int64)
    found[0, : len(rows)] = rows[:k]
    return found


PEERS: dict[str, type[Searcher]] = {
    "FAISS Flat": FaissFlat,
    "FAISS": FaissFactory,
    "FAISS GPU Flat": FaissGpu,
    "hnswlib": HnswLib,
    "usearch": USearch,
    "ScaNN": Scann,
}
