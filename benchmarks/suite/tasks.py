"""What is measured that is no searcher: a collection in SQL from loading to searching, and moments of features.

Each task is measured in a process of its own, like a searcher (``engine.bench.cells``), and gives ``rows`` of figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite.summaries import folder_bytes, spread
from engine import Engine
from engine.bench.cells import BUILT, Cell, Result
from engine.bench.child import collection
from engine.bench.data import simulated
from engine.bench.machine import PACKAGES, bandwidth, machine, resident_bytes, trim
from engine.bench.timing import Entrant, in_turns, percentiles
from engine.config import Settings
from engine.statistics import Moments, features_to_statistics

ENCODER, SAMPLES, K = "external:bench", 100, 10
WRITES = 20
OPENINGS = 5


class Task:
    """The part of a searcher's class that cells ask for."""

    @classmethod
    def absent(cls) -> str | None:
        """Why it cannot be measured here, or None."""
        return None

    @classmethod
    def variants(cls, n: int) -> Sequence[str]:
        """One."""
        return ("",)

    @classmethod
    def measured(cls, cell: Cell, scratch: Path) -> Result:
        """Rows, and what they were measured on."""
        before = bandwidth()
        rows = cls.rows(cell, scratch)
        reading = [before, bandwidth()]
        return {"rows": rows, "bandwidth": reading, "machine": machine(PACKAGES)}

    @classmethod
    def rows(cls, cell: Cell, scratch: Path) -> list[dict[str, Any]]:
        """The figures."""
        raise NotImplementedError


def opened(folder: Path, **settings: Any) -> Engine:
    """The collection in a folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    own = Settings(index_folder=str(folder / "index"), **settings)
    return Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder=ENCODER, settings=own)


def names_of(n: int) -> list[str]:
    """``model-0000000`` …"""
    return [f"model-{i:07d}" for i in range(n)]


class Collection(Task):
    """Means in SQL: loaded, indexed, opened again, searched through ``search_vectors``, written to."""

    @classmethod
    def rows(cls, cell: Cell, scratch: Path) -> list[dict[str, Any]]:
        """One row a step."""
        import faiss

        faiss.omp_set_num_threads(1)
        drawn, folder = collection(cell, scratch), scratch / BUILT / "zoo"
        vectors = np.ascontiguousarray(drawn.vectors)
        n = len(vectors)
        rows = []
        with opened(folder) as eng:
            started = perf_counter()
            eng.ingest_statistics(names_of(n), vectors, encoder=ENCODER, samples=SAMPLES)
            loaded = perf_counter() - started
            rows.append({"step": "loading", "models_per_s": n / loaded, "seconds": loaded})
            started = perf_counter()
            eng.search_vectors(drawn.queries[0], K)
            rows.append({"step": "index built from SQL, first answer", "seconds": perf_counter() - started})
        rows.append({"step": "disk", "bytes": folder_bytes(folder), "snapshot_bytes": folder_bytes(folder / "index")})
        taken = []
        for _ in range(OPENINGS):
            started = perf_counter()
            with opened(folder) as eng:
                eng.search_vectors(drawn.queries[0], K)
                taken.append(perf_counter() - started)
        rows.append({"step": "opening the snapshot, first answer", "seconds": spread(taken)})
        trim()
        before = resident_bytes()
        with opened(folder) as eng:
            eng.search_vectors(drawn.queries[0], K)
            after = resident_bytes()
            if before is not None and after is not None:
                rows.append({"step": "memory of an open collection", "bytes": after - before})
            rows += cls.searching(eng, vectors, drawn.queries)
            rows.append({"step": "commit to visible", **cls.writing(eng, n, cell)})
            rows.append(learned(eng, drawn.queries, "first_moment"))
        return rows

    @staticmethod
    def searching(eng: Engine, vectors: NDArray[Any], queries: NDArray[Any]) -> list[dict[str, Any]]:
        """``search_vectors`` in turns with the bare FAISS call."""
        import faiss

        bare = faiss.IndexFlatIP(vectors.shape[1])
        bare.add(vectors)
        entrants = [
            Entrant("bare FAISS Flat", lambda i: bare.search(queries[i : i + 1], K)[1][0]),
            Entrant("search_vectors", lambda i: eng.search_vectors(queries[i], K)[1]),
        ]
        in_turns(entrants, len(queries))
        pairs = zip(*(entrant.answers for entrant in entrants), strict=True)
        same = float(np.mean([np.array_equal(rows, ids - 1) for rows, ids in pairs]))  # ids count from 1
        found = [{"step": entrant.name, **percentiles(entrant.seconds)} for entrant in entrants]
        found[1]["over_bare"] = found[1]["p50_ms"] / found[0]["p50_ms"]
        found[1]["microseconds_more"] = 1e3 * (found[1]["p50_ms"] - found[0]["p50_ms"])
        found[1]["same_answers"] = same
        return found

    @staticmethod
    def writing(eng: Engine, n: int, cell: Cell) -> dict[str, Any]:
        """One new model at a time: committed to SQL, and found by the next search of the same process."""
        fresh = next(iter(simulated(WRITES, np.random.default_rng(cell.seed + 1), cell.dimension)))
        committed, visible = [], []
        for i, mean in enumerate(fresh):
            started = perf_counter()
            eng.ingest_statistics([f"new-{i}"], mean[None], encoder=ENCODER, samples=SAMPLES)
            between = perf_counter()
            ids = eng.search_vectors(mean, 1)[1]
            visible.append(perf_counter() - between)
            committed.append(between - started)
            assert eng.names(ids) == [f"new-{i}"], "it is found"
        return {"commit_seconds": spread(committed), "visible_seconds": spread(visible)}


def learned(eng: Engine, queries: NDArray[np.float32], method: str, **given: Any) -> dict[str, Any]:
    """``search_vectors`` by a learned transform: any matrix costs the same, so that a random rotation stands in."""
    d = queries.shape[1]
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0].astype(np.float32)
    encoder_id = next(iter(eng.services.catalog.encoders()))
    transform = eng.services.transforms.transforms.add(
        encoder_id, method, "image", "full", {"matrix": matrix}, {}, activate=False
    )
    entrant = Entrant(
        f"search_vectors, learned {method}",
        lambda i: eng.search_vectors(queries[i], K, method, transform=transform.name, **given)[1] - 1,
    )
    in_turns([entrant], len(queries))
    return {"step": entrant.name, **percentiles(entrant.seconds)}


class Loading(Task):
    """Means into fresh databases, several times over, and the same again, which changes nothing."""

    REPEATS = 5

    @classmethod
    def rows(cls, cell: Cell, scratch: Path) -> list[dict[str, Any]]:
        """Models a second, first time and again."""
        means, names = np.array(collection(cell, scratch).vectors), names_of(cell.models)
        rates: dict[str, list[float]] = {"first time": [], "again": []}
        for repeat in range(cls.REPEATS):
            with opened(scratch / BUILT / f"zoo-{repeat}") as eng:
                for own in rates.values():
                    started = perf_counter()
                    eng.ingest_statistics(names, means, encoder=ENCODER, samples=SAMPLES)
                    own.append(len(names) / (perf_counter() - started))
        return [{"run": run, "rates": own} for run, own in rates.items()]


class FeatureMoments(Task):
    """Features to moments: one pass in float64, by blocks, and in one piece by NumPy."""

    BLOCKS = (64, 1024, 4096)
    REPEATS = 5

    @classmethod
    def rows(cls, cell: Cell, scratch: Path) -> list[dict[str, Any]]:
        """Seconds, in turns."""
        features = np.array(collection(cell, scratch).vectors)
        n, d = features.shape

        def blocks(size: int) -> Any:
            return (features[start : start + size] for start in range(0, n, size))

        ways: dict[str, Callable[[], Any]] = {
            f"features_to_statistics, blocks of {size}": lambda size=size: features_to_statistics(
                blocks(size), epsilon=1e-4
            )
            for size in cls.BLOCKS
        }
        ways["Moments.of, in one piece"] = lambda: Moments.of(features).to_statistics(1e-4)
        ways["numpy.cov, float64"] = lambda: np.cov(features, rowvar=False, dtype=np.float64)
        entrants = [Entrant(name, lambda _, work=work: work()) for name, work in ways.items()]
        in_turns(entrants, cls.REPEATS, stretch=1, warm=0)
        worst = max(float(np.abs(e.answers[0].covariance - entrants[-1].answers[0]).max()) for e in entrants[:-1])
        return [
            {
                "way": entrant.name, "seconds": spread(entrant.seconds), "features": n, "dimension": d,
                "gigaflops": 2e-9 * n * d * d / float(np.median(entrant.seconds)), "bytes": features.nbytes,
                "largest_difference": worst,
            }
            for entrant in entrants
        ]  # fmt: skip
