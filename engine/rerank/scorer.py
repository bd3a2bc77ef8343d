"""Packed factors and packed samples of a collection's models: found by array work, scored by one call of a kernel.

There is one store an encoder and kind of record, and, for factors, weight of the shrinkage. Each has a file beside the
index snapshots, which the search reads; what the file lacks is made from SQL, kept by recency, and put into the file
together with others. ``build`` does so for all models. A folder that cannot be written costs speed alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.errors import StorageError
from engine.records import EncoderIdentity, StoredStatistics
from engine.rerank.byte_cache import ByteCache
from engine.rerank.density_layout import record_bytes
from engine.rerank.density_records import (
    distances_at,
    distances_to_densities,
    feature_to_rotated,
    statistics_to_packed,
    statistics_to_rotation,
)
from engine.rerank.gpu_densities import Card, GpuDensities
from engine.rerank.low_rank_records import (
    Common,
    is_smaller,
    low_rank_distances_at,
    low_rank_epsilons,
    shrinkage_to_common,
    statistics_to_low_rank,
)
from engine.rerank.protocol import View
from engine.rerank.record_factory import BLOCK, Records, is_finite, make_records
from engine.rerank.record_file import RecordKey
from engine.rerank.record_store import RecordStore
from engine.rerank.sample_records import best_k_at, features_to_packed
from engine.rerank.versions import UNKNOWN, Versions
from engine.scores import CovarianceMap, Shrinkage
from engine.storage import Catalog

log = logging.getLogger("engine.search")
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
OnProgress = Callable[[str, int, int], None]
FACTORS, SAMPLES = "factors", "samples"
ENOUGH = 64
"""Records that searches have made and that are worth putting into the file."""
BASIS = 128
"""Models that the shared basis is taken from, spread evenly by age."""
PUBLISHED = 256 * 2**20
"""Bytes that ``build`` makes before it puts them into the file: what an interruption can cost."""


@dataclass(frozen=True)
class Files:
    """Where the files lie, as a function of the encoder, and how many bytes each kind may take."""

    folder: Callable[[EncoderIdentity, str], Path]
    factor_bytes: int
    sample_bytes: int


class Stores:
    """The stores of one collection. Threads may share it. Without ``files`` everything is made and held in memory."""

    def __init__(
        self, catalog: Catalog, memory: ByteCache[Any], files: Files | None = None, card: Card | None = None
    ) -> None:
        self.catalog = catalog
        self.files = files
        self.card = None if card is None else GpuDensities(card)
        self.versions = Versions(catalog)
        self._memory = memory
        self._stores: dict[tuple[int, str], RecordStore] = {}
        self._bases: dict[int, tuple[int, Float32]] = {}
        self._turns: dict[tuple[CovarianceMap, str], Float64] = {}
        self._collection = catalog.facts().get("id", "")
        self._commons: dict[tuple[int, float, str, float], Common] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._lock = threading.RLock()

    # --- scores

    def densities(
        self,
        view: View,
        ids: Int64,
        features: Float32,
        shrinkage: Shrinkage | None,
        covariance_map: CovarianceMap | None = None,
        k: int | None = None,
        turned: dict[str, list[Float64]] | None = None,
    ) -> Float64:
        """log N of each model for each feature ``(parts, n)``: NaN for a model that has none.

        With ``k`` −∞ for what is certainly not among the k best. ``turned`` keeps turned features between calls.
        """
        store = self.factors(view, shrinkage)
        places, found = self._found(store, view, ids, partial(self._make_factors, view, store, shrinkage))
        scores = np.full((len(features), len(ids)), np.nan)
        whole = found.sizes == record_bytes(view.identity.dimension)
        full, low = np.flatnonzero(whole), np.flatnonzero(~whole & (found.addresses != 0))
        turn = None if covariance_map is None else self._turn(store, covariance_map)
        most = k or max(len(full) + len(low), 1)
        for row, query in enumerate(self._turned(store, features, turned)):
            best = np.full(most, np.inf)
            on_card = None
            if self.card is not None:
                changes = self.versions.of(view.encoder_id, view.change, ids[places[full]])
                on_card = self.card.distances(store, ids[places[full]], changes, found.addresses[full], query, turn)
            if on_card is None:
                distances, _ = distances_at(found.addresses[full], query, most, turn=turn, best=best)
            else:
                distances = on_card
            scores[row, places[full]] = distances_to_densities(distances, len(query))
            if len(low):
                distances = self._low_rank(
                    view, shrinkage, found.addresses[low], features[row], best, covariance_map
                )  # fmt: skip
                scores[row, places[low]] = distances_to_densities(distances, len(query))
        return scores if covariance_map is None else scores - covariance_map.log_det

    def _low_rank(
        self,
        view: View,
        shrinkage: Shrinkage | None,
        addresses: NDArray[np.uint64],
        feature: Float32,
        best: Float64,
        covariance_map: CovarianceMap | None,
    ) -> Float64:
        """Distances of records of low rank, those of one ε at a time: their basis whitens what is common to it."""
        distances = np.empty(len(addresses))
        epsilons = low_rank_epsilons(addresses, len(feature))
        for epsilon in np.unique(epsilons).tolist():
            common = self._common(view, shrinkage, epsilon)
            turn = None if covariance_map is None else common.turned(covariance_map.inverse)
            one = epsilons == epsilon
            query = common.whiten @ feature.astype(np.float64)
            distances[one] = low_rank_distances_at(addresses[one], query, best, turn=turn)
        return distances

    def _common(self, view: View, shrinkage: Shrinkage | None, epsilon: float) -> Common:
        """What the covariances of all models with that ε share."""
        weight, version = (0.0, "") if shrinkage is None else (shrinkage.weight, shrinkage.version)
        key = view.encoder_id, weight, version, epsilon
        found = self._commons.get(key)
        if found is None:
            self._commons = dict(list(self._commons.items())[-7:])
            with one_thread():
                found = self._commons[key] = shrinkage_to_common(shrinkage, epsilon, view.identity.dimension)
        return found

    def similarities(
        self, view: View, ids: Int64, features: Float32, k: int, turned: dict[str, list[Float64]] | None = None
    ) -> Float64:
        """Best-k of each model for each feature ``(parts, n)``: NaN for a model without samples."""
        store = self.samples(view)
        places, found = self._found(store, view, ids, partial(self._make_samples, view, store))
        there = found.addresses != 0
        addresses, places = found.addresses[there], places[there]
        scores = np.full((len(features), len(ids)), np.nan)
        for row, query in enumerate(self._turned(store, features, turned)):
            scores[row, places] = best_k_at(addresses, query, k)
        return scores

    # --- stores

    def factors(self, view: View, shrinkage: Shrinkage | None) -> RecordStore:
        """The factors of covariances that are shrunk in that way."""
        weight, version = (0.0, "") if shrinkage is None else (shrinkage.weight, shrinkage.version)
        budget = 0 if self.files is None else self.files.factor_bytes
        return self._store(view, factors_name(weight), f"{weight!r} {version}", FACTORS, budget)

    def samples(self, view: View) -> RecordStore:
        """The kept sample features."""
        return self._store(view, SAMPLES, "", SAMPLES, 0 if self.files is None else self.files.sample_bytes)

    def _store(
        self, view: View, name: str, shrinkage: str, kind: str, budget: int, anew: Float32 | None = None
    ) -> RecordStore:
        """The store of that name; ``anew`` empties it, for another basis."""
        store = self._stores.get((view.encoder_id, name))
        if store is not None and store.key.shrinkage == shrinkage and anew is None:
            return store
        with self._lock:
            identity = view.identity
            key = RecordKey(self._collection, identity.fingerprint, identity.dimension, "", shrinkage, "", kind)
            root = None if self.files is None else self.files.folder(identity, name)
            store = RecordStore(root, key, budget=budget, memory=self._memory)
            if store.rotation is None or anew is not None:
                store.start(self._basis(view, kind) if anew is None else anew)
            self._stores[view.encoder_id, name] = store
            return store

    def _basis(self, view: View, kind: str) -> Float32:
        """A rotation that all models share, from some of their statistics; the samples' is that of some factors."""
        _, ids, _ = self.versions.all(view.encoder_id, view.change)
        count, found = self._bases.get(view.encoder_id, (0, None))
        if found is not None and (kind == SAMPLES or len(ids) < 2 * count):
            return found
        stored, _ = self.catalog.statistics(view.encoder_id, ids[:: max(-(-len(ids) // BASIS), 1)].tolist())
        usable = [one.statistics for one in stored.values() if is_finite(one.statistics)]
        with one_thread():
            found = statistics_to_rotation(usable) if usable else np.eye(view.identity.dimension, dtype=np.float32)
        self._bases[view.encoder_id] = len(ids), found
        return found

    # --- all of them

    def build(self, view: View, shrinkage: Shrinkage | None, on_progress: OnProgress | None = None) -> None:
        """Put every model's records into the files, as far as the budgets allow; what is there already stays.

        An interrupted run goes on from what it has published.
        """
        factors = self.factors(view, shrinkage)
        make = partial(self._make_factors, view, factors, shrinkage)
        self._complete(view, factors, FACTORS, make, record_bytes(view.identity.dimension), on_progress)
        samples = self.samples(view)
        if samples.basis != factors.basis and 2 * len(samples) < len(factors):
            assert factors.rotation is not None, "it was started"
            samples = self._store(view, SAMPLES, "", SAMPLES, samples.budget, factors.rotation)
        self._complete(view, samples, SAMPLES, partial(self._make_samples, view, samples), 0, on_progress)

    def verify(self, view: View, shrinkage: Shrinkage | None) -> None:
        """Hash every record in the files again; ``build`` makes those anew that turn out to be damaged."""
        for store in (self.factors(view, shrinkage), self.samples(view)):
            store.verify()

    def forget(self, encoder_id: int) -> None:
        """Let go of an encoder's stores: somebody has removed or replaced their files."""
        with self._lock:
            for key in [key for key in self._stores if key[0] == encoder_id]:
                del self._stores[key]

    def has_files(self, view: View, shrinkage: Shrinkage | None) -> bool:
        """Whether somebody has searched by densities here, or built the files: then they are kept complete."""
        return self.files is not None and len(self.factors(view, shrinkage)) > 0

    def flush(self) -> None:
        """Put what searches have made into the files, and wait for what is being written."""
        for (encoder_id, _), store in list(self._stores.items()):
            self._flush(store, encoder_id)
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.shutdown()
        for store in list(self._stores.values()):
            try:
                store.say_counts()
            except StorageError as error:
                self._forgo(store, error)

    def _flush_soon(self, store: RecordStore, encoder_id: int) -> None:
        """The same beside the search that made them: an answer does not wait for a file."""
        with self._lock:
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "factors")
            self._writer.submit(self._flush, store, encoder_id)

    def _complete(
        self,
        view: View,
        store: RecordStore,
        what: str,
        make: Callable[[list[int]], Records],
        each: int,
        on_progress: OnProgress | None,
    ) -> None:
        if not store.budget:
            return
        versions = self._mapping(view.encoder_id, view.change)
        missing = store.lacks(versions, each)
        made: dict[int, NDArray[np.uint8]] = {}
        try:
            for start in range(0, len(missing), BLOCK):
                made.update(make(missing[start : start + BLOCK]))
                done = min(start + BLOCK, len(missing))
                if made and (sum(map(len, made.values())) >= PUBLISHED or done == len(missing)):
                    if store.append(made, versions, settle=False) < len(made):
                        break  # the budget is spent
                    made = {}
                if on_progress is not None:
                    on_progress(what, done, len(missing))
        except StorageError as error:
            self._forgo(store, error)

    def _flush(self, store: RecordStore, encoder_id: int) -> None:
        if not store.waiting:
            return
        try:
            store.flush(self._mapping(encoder_id, 0))
        except StorageError as error:
            self._forgo(store, error)

    def _forgo(self, store: RecordStore, error: StorageError) -> None:
        log.warning("%s", error)
        store.forgo()

    def _mapping(self, encoder_id: int, change: int) -> dict[int, int]:
        _, ids, changes = self.versions.all(encoder_id, change)
        return dict(zip(ids.tolist(), changes.tolist(), strict=True))

    # --- finding and making

    def _found(
        self, store: RecordStore, view: View, ids: Int64, make: Callable[[list[int]], Records]
    ) -> tuple[Int64, Any]:
        """Places among ``ids`` of the models that there are, and where their records lie."""
        changes = self.versions.of(view.encoder_id, view.change, ids)
        known = changes != UNKNOWN
        found = store.find(ids[known], changes[known], make)
        if store.waiting >= ENOUGH:
            self._flush_soon(store, view.encoder_id)
        return np.flatnonzero(known), found

    def _make_factors(self, view: View, store: RecordStore, shrinkage: Shrinkage | None, ids: list[int]) -> Records:
        rotation = store.rotation
        assert rotation is not None, "it was started"

        def made(item: StoredStatistics) -> NDArray[np.uint8] | None:
            statistics = item.statistics
            if statistics.covariance is None:
                return None
            if is_smaller(statistics):
                record = statistics_to_low_rank(statistics, self._common(view, shrinkage, statistics.epsilon))
                if record is not None:
                    return record
            return statistics_to_packed(statistics, rotation, shrinkage).record

        return make_records(ids, partial(self.catalog.statistics, view.encoder_id), made)

    def _make_samples(self, view: View, store: RecordStore, ids: list[int]) -> Records:
        rotation = store.rotation
        assert rotation is not None, "it was started"

        def made(features: Float32) -> NDArray[np.uint8] | None:
            usable = len(features) > 0 and bool(np.isfinite(features).all())
            return features_to_packed(features, rotation) if usable else None

        return make_records(ids, partial(self.catalog.sample_features, view.encoder_id), made)

    # --- queries

    def _turned(self, store: RecordStore, features: Float32, before: dict[str, list[Float64]] | None) -> list[Float64]:
        """R h̃ of each feature, once a basis."""
        kept = {} if before is None else before
        if store.basis not in kept:
            assert store.rotation is not None, "it was started"
            kept[store.basis] = [feature_to_rotated(store.rotation, feature) for feature in features]
        return kept[store.basis]

    def _turn(self, store: RecordStore, covariance_map: CovarianceMap) -> Float64:
        """A⁻¹ in the store's basis, RA⁻¹Rᵀ: ‖(AL)⁻¹z‖ = ‖L⁻¹A⁻¹z‖, so packed factors serve learned maps as they are."""
        key = covariance_map, store.basis
        found = self._turns.get(key)
        if found is None:
            assert store.rotation is not None, "it was started"
            wide = store.rotation.astype(np.float64)
            self._turns = {**dict(list(self._turns.items())[-3:])}
            found = self._turns[key] = wide @ covariance_map.inverse.astype(np.float64) @ wide.T
        return found


def factors_name(weight: float) -> str:
    """What the file of factors that are shrunk by that weight is called."""
    return f"{FACTORS}-{weight:g}"
