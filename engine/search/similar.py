"""Similar models: lists kept in the database and completed when they are asked for, or the index's own answers.

A stored distance is computed to a model's nearest models by cosine of means (all of them while there are few), and
kept both ways. What a kill left undone is noticed by ``Neighbours.pending`` and done the next time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.distances import DISTANCES, FRECHET, Distance, name_to_distance
from engine.errors import CorruptData, InvalidQuery, MissingStatistics, StorageError
from engine.index import MISSING
from engine.options import SearchOptions, checked_k
from engine.records import EncoderRef, Hits, Part
from engine.rerank.statistics_cache import StatisticsCache
from engine.search.service import SearchService
from engine.search.views import IndexView, IndexViews
from engine.session import Session
from engine.storage import Neighbours

if TYPE_CHECKING:
    from engine.distances import Measured

log = logging.getLogger("engine.search")
OnProgress = Callable[[int, int], None]
Pairs = dict[frozenset[int], float]
MOST_COMPARED = 100


class SimilarModels:
    """Answers which models are like one another. Threads may share it."""

    def __init__(
        self, session: Session, views: IndexViews, statistics: StatisticsCache, neighbours: Neighbours,
        search: SearchService,
    ) -> None:  # fmt: skip
        self._session = session
        self._views = views
        self._statistics = statistics
        self._neighbours = neighbours
        self._search = search

    def similar(self, name: str, k: int = 10, *, distance: str = FRECHET.name, encoder: str | None = None) -> Hits:
        """Models whose samples are distributed like this one's.

        Args:
            distance: ``frechet`` (scores are squared distances, lower is nearer; from precomputed lists of
                ``settings.neighbours`` models), or ``cosine`` of means (higher is nearer).

        Raises:
            ModelNotFound, InvalidQuery, MissingStatistics, EncoderNotFound
            CorruptData: what is stored of the model does not match its checksum.
        """
        started = perf_counter()
        wanted = name_to_distance(distance)
        k = checked_k(k)
        if not wanted.stored:
            hits = self._search.answer([Part("model", name, name="model")], SearchOptions(k=k, encoder=encoder))
            return Hits(hits, method=wanted.name, timings_ms=hits.timings_ms, left_out=hits.left_out)
        model = self._session.catalog.model(name)
        ref = self._session.encoder(encoder)
        found = self._nearest(ref, wanted, model.id, k)
        if not found:
            self._refuse_unmeasured(ref, name, model.id)
        fetching = perf_counter()
        ids = np.array([model_id for model_id, _ in found], np.int64)
        answers = self._search.records(ids, np.array([value for _, value in found]))
        ended = perf_counter()
        timings = {"records": 1e3 * (ended - fetching), "total": 1e3 * (ended - started)}
        return Hits(answers, method=wanted.name, timings_ms=timings, lower_is_nearer=wanted.lower_is_nearer)

    def _refuse_unmeasured(self, encoder: EncoderRef, name: str, model_id: int) -> None:
        """Say why a model can have no list, if that is so."""
        if model_id in self._statistics.moments(encoder.id, [model_id]):
            return
        damaged = self._session.catalog.statistics(encoder.id, [model_id])[1]
        if damaged:
            reason = damaged[model_id]
            raise CorruptData(f"{name!r} under {encoder.identity.name}: {reason}", hint="ingest this model again")
        raise MissingStatistics(f"{name!r} has no covariance under {encoder.identity.name}", hint="use distance cosine")

    def _nearest(self, encoder: EncoderRef, distance: Distance, model_id: int, k: int) -> list[tuple[int, float]]:
        """A model's list, completed; where nothing can be written it is computed for this answer alone."""
        try:
            self.complete(encoder, only=model_id)
        except CorruptData:
            raise
        except StorageError as error:
            log.info("%s; the list of similar models is computed and not kept", error)
            return (self.nearest_now(encoder, distance, model_id) or [])[:k]
        return self._neighbours.nearest(encoder.id, distance.name, model_id, k)

    def nearest_now(self, encoder: EncoderRef, distance: Distance, model_id: int) -> list[tuple[int, float]] | None:
        """What a model's list would hold, ``(id, distance)``, nearest first; None where it can have none."""
        found = self._distances(self._views.current(encoder), distance, model_id, {})
        kept = self._session.settings.neighbours
        return None if found is None else sorted(found, key=lambda pair: (pair[1], pair[0]))[:kept]

    def complete(
        self, encoder: EncoderRef, *, only: int | None = None, on_progress: OnProgress | None = None
    ) -> int:  # fmt: skip
        """Compute the lists that are missing or stale, of one model or of all; how many there were.

        One model's list is stale, too, while a model near it is pending: that one has not entered it yet.
        """
        view = self._views.current(encoder)
        pending = self._neighbours.pending(encoder.id)
        if only is not None and pending:
            stale = only in pending or not set(pending).isdisjoint(self._candidates(view, only) or ())
            pending = [only] if stale else []
        known: Pairs = {}  # two pending models need their distance once
        for done, model_id in enumerate(pending):
            self._complete_one(view, model_id, known)
            if on_progress is not None:
                on_progress(done + 1, len(pending))
        return len(pending)

    def _complete_one(self, view: IndexView, model_id: int, known: Pairs) -> None:
        versions = self._session.catalog.changes_of(view.encoder_id, [model_id])
        if model_id not in versions:
            return
        values = self._distances(view, FRECHET, model_id, known)
        if values is not None:
            keep = self._session.settings.neighbours
            self._neighbours.put(view.encoder_id, FRECHET.name, model_id, versions[model_id], values, keep=keep)

    def _distances(
        self, view: IndexView, distance: Distance, model_id: int, known: Pairs
    ) -> list[tuple[int, float]] | None:
        """A model's distances to those near it, in no order; None where it has no mean or no covariance."""
        candidates = self._candidates(view, model_id)
        if candidates is None:
            return None
        measured = self._measured(view.encoder_id, [model_id, *candidates])
        if model_id not in measured:
            return None

        def value(other: int) -> float:
            pair = frozenset((model_id, other))
            if pair not in known:
                known[pair] = distance.function(measured[model_id], measured[other])
            return known[pair]

        usable = [other for other in candidates if other in measured]
        with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:  # LAPACK lets go of the interpreter
            return list(zip(usable, pool.map(value, usable), strict=True))

    def _measured(self, encoder_id: int, ids: list[int]) -> dict[int, Measured]:
        """Models that have a covariance, with its Cholesky factor."""
        moments = self._statistics.moments(encoder_id, ids)
        factors = self._statistics.choleskys(encoder_id, ids)
        return {i: (moments[i], factors[i]) for i in ids if i in moments and i in factors}

    def _candidates(self, view: IndexView, model_id: int) -> list[int] | None:
        """The nearest models by cosine of means, to which stored distances are computed; None if it has no mean."""
        settings = self._session.settings
        query = view.index.vectors(np.array([model_id]))
        if not np.isfinite(query).all():
            return None
        width = min(settings.neighbour_candidates + 1, len(view.index))
        _, found = view.index.search(query, width, recall=settings.recall)
        return [int(i) for i in found[0] if i not in (MISSING, model_id)]

    def distances(self, names: Sequence[str], *, encoder: str | None = None) -> dict[str, NDArray[np.float64]]:
        """How far models are from one another: ``frechet`` (squared) and ``cosine`` of means, ``(n, n)`` float64 each.

        NaN where a model has no covariance, or no statistics under the encoder.

        Raises:
            ModelNotFound, EncoderNotFound
            InvalidQuery: no names, or more than 100.
        """
        if not 1 <= len(names) <= MOST_COMPARED:
            raise InvalidQuery(f"from 1 to {MOST_COMPARED} models are compared, got {len(names)}")
        encoder_id = self._session.encoder(encoder).id
        ids = [self._session.catalog.model(name).id for name in names]
        measured: dict[int, Measured] = dict(self._measured(encoder_id, ids))
        stored, _ = self._session.catalog.statistics(encoder_id, [i for i in ids if i not in measured])
        measured |= {i: (one.statistics, None) for i, one in stored.items()}
        tables = {name: np.full((len(ids), len(ids)), np.nan) for name in DISTANCES}
        for (i, a), (j, b) in combinations_with_replacement(enumerate(ids), 2):
            if a in measured and b in measured:
                for name, table in tables.items():
                    table[i, j] = table[j, i] = DISTANCES[name].function(measured[a], measured[b])
        return tables
