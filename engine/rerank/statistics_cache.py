"""What the exact stage reads of its candidates, cached by recency and by the change that wrote it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.rerank.byte_cache import ByteCache
from engine.rerank.gpu_densities import Card
from engine.rerank.record_factory import log_damaged
from engine.rerank.scorer import Files, Stores
from engine.scores import GaussianFactor, Shrinkage, statistics_to_factor
from engine.scores.frechet import statistics_to_cholesky
from engine.storage import Catalog

Kind = TypeVar("Kind")


class StatisticsCache:
    """Factors, moments and sample features of models, by id, for one collection.

    A model that lacks what is asked for, or whose stored bytes are damaged, is absent from the answer. What densities
    and nearest samples are scored from lies in ``stores``; ``budget`` bounds what of all this is held in memory.
    """

    def __init__(self, catalog: Catalog, budget: int, files: Files | None = None, card: Card | None = None) -> None:
        self.catalog = catalog
        self.cache: ByteCache[object] = ByteCache(budget)
        self.stores = Stores(catalog, self.cache, files, card)

    def factors(
        self, encoder_id: int, ids: Sequence[int], shrinkage: Shrinkage | None = None
    ) -> dict[int, GaussianFactor]:
        """Inverse Cholesky factors, of covariances shrunk toward the collection's if so asked."""
        what = "factor" if shrinkage is None else f"factor {shrinkage.weight} {shrinkage.version}"
        return self._from_statistics(
            what, GaussianFactor, encoder_id, ids,
            lambda statistics: statistics_to_factor(statistics, shrinkage), lambda value: value.nbytes,
        )  # fmt: skip

    def moments(self, encoder_id: int, ids: Sequence[int]) -> dict[int, Statistics]:
        """Means and covariances."""
        return self._from_statistics("moments", Statistics, encoder_id, ids, lambda value: value, _statistics_bytes)

    def choleskys(self, encoder_id: int, ids: Sequence[int]) -> dict[int, NDArray[np.float64]]:
        """Cholesky factors ``(d, d)`` float64, for Fréchet distances."""
        return self._from_statistics(
            "cholesky", np.ndarray, encoder_id, ids, statistics_to_cholesky, lambda value: int(value.nbytes)
        )

    def features(self, encoder_id: int, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Stored sample features ``(n, d)`` float32."""
        found, missing, versions = self._cached("features", np.ndarray, encoder_id, ids)
        if missing:
            good, damaged = self.catalog.sample_features(encoder_id, missing)
            log_damaged(damaged)
            for model_id, value in good.items():
                self.cache.put(("features", encoder_id, model_id), versions[model_id], value, value.nbytes)
                found[model_id] = value
        return found

    def _from_statistics(
        self,
        what: str,
        kind: type[Kind],
        encoder_id: int,
        ids: Sequence[int],
        make: Callable[[Statistics], Kind],
        size: Callable[[Kind], int],
    ) -> dict[int, Kind]:
        found, missing, _ = self._cached(what, kind, encoder_id, ids)
        if not missing:
            return found
        stored, damaged = self.catalog.statistics(encoder_id, missing)
        with one_thread():
            for model_id, item in stored.items():
                if item.statistics.covariance is None:
                    continue
                try:
                    value = make(item.statistics)
                except InvalidStatistics as error:
                    damaged[model_id] = error.message
                    continue
                self.cache.put((what, encoder_id, model_id), item.change, value, size(value))
                found[model_id] = value
        log_damaged(damaged)
        return found

    def _cached(
        self, what: str, kind: type[Kind], encoder_id: int, ids: Sequence[int]
    ) -> tuple[dict[int, Kind], list[int], dict[int, int]]:
        versions = self.catalog.changes_of(encoder_id, ids)
        found: dict[int, Kind] = {}
        missing: list[int] = []
        for model_id, version in versions.items():
            value = self.cache.get((what, encoder_id, model_id), version)
            if isinstance(value, kind):
                found[model_id] = value
            else:
                missing.append(model_id)
        return found, missing, versions


def _statistics_bytes(statistics: Statistics) -> int:
    covariance = 0 if statistics.covariance is None else statistics.covariance.nbytes
    return statistics.mean.nbytes + covariance
