"""The Gaussian density as it is searched: a shortlist by first moment, re-ranked exactly, beside torch and SciPy.

Up to ``IN_SQL`` models, moments are blobs in an SQLite collection; above that they do not fit a disk, and
``covariances`` makes each from its model's number in place of SQL, as the report says. Covariances are each model's own
(no shrinkage), as in the papers; rows that say *shrunk* draw them toward what the models share, as the engine does
by default, which lets more candidates be dropped early. ``POOL`` queries are asked in turn; the factors of their
candidates lie in a factor store's mapped file, read and verified once before the clock starts. Truth, where there are
few enough models, is the float64 density of all of them, without shrinkage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular

from benchmarks.suite.covariances import EPSILON, Covariances
from benchmarks.suite.tasks import ENCODER, Task, names_of, opened
from engine import Engine
from engine.bench.cells import BUILT, Cell
from engine.bench.child import collection
from engine.bench.data import Drawn
from engine.bench.machine import bandwidth, gpu, resident_bytes, trim
from engine.bench.measure import recall
from engine.bench.timing import Entrant, in_turns, percentiles
from engine.config import Settings
from engine.index import FlatIndex
from engine.index.choose import suited
from engine.records import Statistics
from engine.rerank import density_records as rule
from engine.rerank.byte_cache import ByteCache
from engine.rerank.density_layout import record_bytes
from engine.rerank.density_records import distances_at, feature_to_rotated, statistics_to_packed
from engine.rerank.record_file import RecordKey
from engine.rerank.record_store import RecordStore
from engine.scores import Shrinkage
from engine.scores.gaussian_density import LOG_2PI

IN_SQL, TRUE_UP_TO = 10_000, 10_000
POOL, CANDIDATES, K, FEW, RECALL = 40, 100, 10, 10, 0.95
SHARED = 200
"""Models whose covariances make what others are drawn toward."""
SHRUNK = "shrunk"
AT_ONCE = 300
"""Models whose whole covariances are put into one torch distribution, as the papers' code does it."""
BLOCK = 500
"""Models ingested at once: 262 MB of covariances."""


class Density(Task):
    """One row a way of scoring."""

    @classmethod
    def rows(cls, cell: Cell, scratch: Path) -> list[dict[str, Any]]:
        """The whole search, its parts, and others."""
        drawn = collection(cell, scratch)
        made = Covariances(cell.data, drawn.vectors, cell.seed)
        random = np.random.default_rng([cell.seed, len(drawn.vectors)])
        own = random.integers(0, len(drawn.vectors), POOL)
        queries = np.stack([made.query(int(model), random) for model in own])
        turns = cell.queries
        work = Work(cell, scratch, drawn, made, queries)
        try:
            in_turns(work.entrants(), turns, warm=min(POOL, turns))
            return work.figures()
        finally:
            work.close()


class Work:
    """What is timed, over one collection. Rows and candidates are model numbers."""

    def __init__(self, cell: Cell, scratch: Path, drawn: Drawn, made: Covariances, queries: Any) -> None:
        self.made, self.queries, self.n, self.d = made, queries, len(drawn.vectors), drawn.vectors.shape[1]
        self.engine: Engine | None = None
        folder = scratch / BUILT
        if self.n <= IN_SQL:
            self.engine = in_sql(folder / "zoo", made, self.n)
        trim()
        before = resident_bytes() or 0
        flat = FlatIndex.build(np.arange(self.n), np.asarray(drawn.vectors), dimension=self.d)
        self.index = suited(flat)[0]
        del flat
        self.count = min(CANDIDATES, self.n)
        self.nearest = [self.index.search(q[None], self.count, recall=RECALL)[1][0].tolist() for q in queries]
        wanted = list(dict.fromkeys(i for ids in self.nearest for i in ids))
        self.own = Factors(folder / "factors", cell.data, self.d, wanted, self._statistics, None)
        self.resident = (resident_bytes() or 0) - before
        self.shrunk = Factors(folder / "shrunk", cell.data, self.d, wanted, self._statistics, self._shrinkage(wanted))
        self.bandwidth = bandwidth()["best"]
        self.done: list[Entrant] = []

    def _shrinkage(self, wanted: list[int]) -> Shrinkage:
        """Toward the mean of some models' covariances, as heavily as the engine does by default."""
        some = wanted[:SHARED]
        shared = np.sum([self.made.covariance(i) for i in some], axis=0, dtype=np.float64) / len(some)
        return Shrinkage(shared, Settings().shrinkage, "bench")

    def _statistics(self, models: list[int]) -> Iterable[tuple[int, Statistics]]:
        """From SQL where they are there, else made."""
        if self.engine is None:
            yield from ((i, self.made.statistics(i)) for i in models)
            return
        found, damaged = self.engine.services.catalog.statistics(1, [i + 1 for i in models])
        assert not damaged
        yield from ((i, found[i + 1].statistics) for i in models)

    def entrants(self) -> list[Entrant]:
        """In turns; each answers with model numbers, best first, or with nothing to compare."""
        few = [ids[:FEW] for ids in self.nearest]
        self._kept = {}
        for i in dict.fromkeys(i for ids in few for i in ids):
            sigma = self.made.covariance(i).astype(np.float64) + EPSILON * np.eye(self.d)
            lower = np.asarray(lapack.dpotrf(sigma, lower=1, clean=1)[0])
            self._kept[i] = (self.made.mean(i).astype(np.float64), sigma, lower)
        import torch

        torch.set_num_threads(1)
        self._torch = torch
        normal = torch.distributions.MultivariateNormal
        kept = {
            i: normal(torch.from_numpy(mean), scale_tril=torch.from_numpy(lower), validate_args=False)
            for i, (mean, _, lower) in self._kept.items()
        }

        def by_torch(number: int) -> Any:
            query = torch.from_numpy(self.queries[number % POOL].astype(np.float64))
            return [float(kept[i].log_prob(query)) for i in few[number % POOL]]

        def by_torch_made(number: int) -> Any:
            query = torch.from_numpy(self.queries[number % POOL].astype(np.float64))
            found = []
            for i in few[number % POOL]:
                mean, sigma, _ = self._kept[i]
                made = normal(torch.from_numpy(mean), covariance_matrix=torch.from_numpy(sigma))
                found.append(float(made.log_prob(query)))
            return found

        def by_scipy(number: int) -> Any:
            query = self.queries[number % POOL].astype(np.float64)
            return [density(self._kept[i], query) for i in few[number % POOL]]

        found = [
            Entrant("shortlist and packed factors", lambda number: self._searched(number, self.own)),
            Entrant("packed factors alone", lambda number: self._ranked(number, self.own)),
            Entrant(f"shortlist and packed factors, {SHRUNK}", lambda number: self._searched(number, self.shrunk)),
            Entrant(f"packed factors alone, {SHRUNK}", lambda number: self._ranked(number, self.shrunk)),
            Entrant("SciPy solve_triangular, factors kept", by_scipy),
            Entrant("torch MultivariateNormal, kept", by_torch),
            Entrant("torch MultivariateNormal, made for the query", by_torch_made),
        ]
        if self.engine is not None:
            eng = self.engine
            found.append(
                Entrant(
                    "engine search_vectors(method='gaussian_density')",
                    lambda number: eng.search_vectors(self.queries[number % POOL], K, "gaussian_density")[1] - 1,
                )
            )
        most = {"cpu": AT_ONCE, **({"cuda": IN_SQL} if gpu() else {})}
        found += [self._papers(device) for device, count in most.items() if self.n <= count]
        self.done = found
        return found

    def _searched(self, number: int, factors: Factors) -> Any:
        query = self.queries[number % POOL]
        return factors.best(self.index.search(query[None], self.count, recall=RECALL)[1][0], query)

    def _ranked(self, number: int, factors: Factors) -> Any:
        return factors.best(np.asarray(self.nearest[number % POOL], np.int64), self.queries[number % POOL])

    def _papers(self, device: str) -> Entrant:
        """Every model's density at once, float32, factors kept, synchronised."""
        torch = self._torch
        means = torch.from_numpy(np.stack([self.made.mean(i) for i in range(self.n)])).to(device)
        sigma = torch.empty((self.n, self.d, self.d), device=device)
        for i in range(self.n):
            sigma[i] = torch.from_numpy(self.made.covariance(i)).to(device)
        sigma += EPSILON * torch.eye(self.d, device=device)
        lower = torch.linalg.cholesky(sigma)
        del sigma
        normal = torch.distributions.MultivariateNormal(means, scale_tril=lower, validate_args=False)

        def work(number: int) -> Any:
            query = torch.from_numpy(self.queries[number % POOL]).to(device)
            return torch.topk(normal.log_prob(query), min(K, self.n)).indices.cpu().numpy()

        return Entrant(f"torch MultivariateNormal, all models at once, {device}", work)

    def figures(self) -> list[dict[str, Any]]:
        """Rows, against the truth where it is known."""
        truth = self._truth() if self.n <= TRUE_UP_TO else None
        best = max(self.bandwidth, bandwidth()["best"])
        rows = []
        for entrant in self.done:
            every = "all models" in entrant.name
            scored = self.n if every else FEW if ("torch" in entrant.name or "SciPy" in entrant.name) else self.count
            if entrant.name.startswith("engine"):
                scored = min(self.engine.settings.shortlist, self.n) if self.engine else 0
            size = scored * (4 * self.d * self.d if every else record_bytes(self.d))
            if entrant.name.startswith("shortlist"):
                size += 4 * self.n * self.d if isinstance(self.index, FlatIndex) and self.index.kind == "flat" else 0
            row: dict[str, Any] = {
                "method": entrant.name,
                "moments": "SQL" if self.engine is not None else "generator",
                "scored": scored,
                **percentiles(entrant.seconds),
                "must_read_bytes": size,
                "floor_ms": 1e3 * size / (1e9 * best),
                "bandwidth_gb_s": best,
            }
            row["over_floor"] = row["p50_ms"] / row["floor_ms"]
            row["ms_a_candidate"] = row["p50_ms"] / scored
            if entrant.name.startswith("shortlist"):
                row |= {"resident_bytes": self.resident, "factor_ms": self.own.factor_ms}
            if scored != FEW and truth is not None and not entrant.name.endswith(SHRUNK):
                answers = np.stack(entrant.answers)
                order = np.arange(len(answers)) % POOL
                row["recall"] = recall(answers, truth[order], K)
                row["top1"] = float((answers[:, 0] == truth[order, 0]).mean())
            rows.append(row)
        return rows

    def _truth(self) -> Any:
        """The K models of highest density ``(POOL, K)``, of all, float64."""
        wide = self.queries.astype(np.float64).T
        scores = np.empty((self.n, POOL))
        for i in range(self.n):
            sigma = self.made.covariance(i).astype(np.float64) + EPSILON * np.eye(self.d)
            lower = np.asarray(lapack.dpotrf(sigma, lower=1, clean=1)[0])
            mean = self.made.mean(i).astype(np.float64)
            z = solve_triangular(lower, wide - mean[:, None], lower=True, check_finite=False)
            scores[i] = -0.5 * ((z**2).sum(axis=0) + 2 * np.log(np.diag(lower)).sum() + self.d * LOG_2PI)
        return np.argsort(-scores, axis=0, kind="stable")[:K].T

    def close(self) -> None:
        """Close the collection."""
        if self.engine is not None:
            self.engine.close()


class Factors:
    """A factor store with the records of all candidates, read and verified once."""

    def __init__(
        self,
        folder: Path,
        data: str,
        dimension: int,
        wanted: list[int],
        statistics: Callable[[list[int]], Iterable[tuple[int, Statistics]]],
        shrinkage: Shrinkage | None,
    ) -> None:
        key = RecordKey("bench", data, dimension, "", shrinkage.version if shrinkage else "", "")
        budget = len(wanted) * record_bytes(dimension)
        self.store = RecordStore(folder, key, budget=budget, memory=ByteCache(0))
        self.store.start(rule.statistics_to_rotation(item for _, item in statistics(wanted[: 2 * CANDIDATES])))
        self.factor_ms = self._fill(wanted, statistics, shrinkage)
        """A model, without writing and without making its covariance."""
        self.store.find(np.array(wanted), np.ones(len(wanted), np.int64), lambda ids: {})

    def _fill(
        self,
        wanted: list[int],
        statistics: Callable[[list[int]], Iterable[tuple[int, Statistics]]],
        shrinkage: Shrinkage | None,
    ) -> float:
        spent, rotation = 0.0, self.rotation
        for start in range(0, len(wanted), BLOCK):
            records = {}
            for i, found in statistics(wanted[start : start + BLOCK]):
                started = perf_counter()
                records[i] = statistics_to_packed(found, rotation, shrinkage).record
                spent += perf_counter() - started
            self.store.append(records, dict.fromkeys(wanted, 1))
        return 1e3 * spent / len(wanted)

    @property
    def rotation(self) -> Any:
        """The shared basis ``(d, d)``."""
        rotation = self.store.rotation
        assert rotation is not None
        return rotation

    def best(self, places: Any, query: Any) -> Any:
        """The ``K`` candidates of highest density."""
        found = self.store.find(places, np.ones(len(places), np.int64), lambda missing: {})
        distances, _ = distances_at(found.addresses, feature_to_rotated(self.rotation, query), K)
        return places[np.argsort(distances, kind="stable")[:K]]


def density(kept: Any, query: Any) -> float:
    """log N of one model, by SciPy."""
    mean, _, lower = kept
    z = solve_triangular(lower, query - mean, lower=True, check_finite=False)
    return -0.5 * (float(z @ z) + 2 * float(np.log(np.diag(lower)).sum()) + len(z) * LOG_2PI)


def in_sql(folder: Path, made: Covariances, n: int) -> Engine:
    """A collection with these models' moments as blobs, ids from 1 on, whose index is built."""
    eng = opened(folder, shrinkage=0.0, epsilon=EPSILON)
    names = names_of(n)
    for start in range(0, n, BLOCK):
        numbers = range(start, min(start + BLOCK, n))
        eng.ingest_statistics(
            names[start : start + BLOCK], np.stack([made.mean(i) for i in numbers]),
            np.stack([made.covariance(i) for i in numbers]), encoder=ENCODER, samples=600,
        )  # fmt: skip
    return eng
