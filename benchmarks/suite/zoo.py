"""A collection the size of the papers' zoo, with the samples kept that Monte-Carlo needs, searched by every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.covariances import Covariances
from benchmarks.suite.tasks import ENCODER, K, Task, learned, opened
from engine.bench.cells import BUILT, Cell
from engine.bench.child import collection
from engine.bench.timing import Entrant, in_turns, percentiles

KEPT = 2400
"""Samples a model: the papers' Monte-Carlo (2.4K)."""
METHODS = ("monte_carlo", "best_10", "first_moment", "gaussian_density")


class Zoo(Task):
    """``search_vectors`` over all models by each method, everything in memory."""

    @classmethod
    def rows(cls, cell: Cell, scratch: Path) -> list[dict[str, Any]]:
        """One row a method."""
        drawn, folder = collection(cell, scratch), scratch / BUILT
        n, made = len(drawn.vectors), Covariances(cell.data, drawn.vectors, cell.seed)
        random = np.random.default_rng(cell.seed)
        features = folder / "features.npy"
        own = {"kept_features": KEPT, "shrinkage": 0.0, "factor_cache_bytes": 8 * 2**30}
        few = {"neighbours": 1, "neighbour_candidates": 1}  # similar models are not asked for
        with opened(folder / "zoo", **own, **few) as eng:
            for i in range(n):
                np.save(features, made.features(i, KEPT, random))
                eng.ingest(features, name=f"model-{i:07d}", encoder=ENCODER)
            queries = np.stack([made.query(int(i), random) for i in random.integers(0, n, cell.queries)])
            entrants = [
                Entrant(
                    f"search_vectors, {method}",
                    lambda i, method=method: eng.search_vectors(queries[i], K, method, shortlist=n)[1],
                )
                for method in METHODS
            ]
            in_turns(entrants, len(queries))
            rows = [{"step": entrant.name, **percentiles(entrant.seconds)} for entrant in entrants]
            return [*rows, *(learned(eng, queries, method, shortlist=n) for method in METHODS[2:])]
