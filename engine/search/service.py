"""Answering queries: facts, plan, encoding, shortlist, re-rank, records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError, InvalidQuery
from engine.filters import Where
from engine.options import (
    AUTO,
    SearchKeywords,
    SearchOptions,
    checked_k,
    checked_recall,
    checked_shortlist,
    checked_text,
    keywords_to_options,
    with_options,
)
from engine.records import EncoderRef, Hit, Hits, Part, QueryPart
from engine.rerank.statistics_cache import StatisticsCache
from engine.search.change_watcher import ChangeWatcher
from engine.search.plan import Plan, Planner, PlanRequest
from engine.search.queries import checked_vectors, encode_parts, given_to_parts
from engine.search.ranking import Ranking, rank
from engine.search.views import IndexViews
from engine.session import Session
from engine.storage.search_facts import SearchFacts

if TYPE_CHECKING:
    from typing_extensions import Unpack

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
ENCODED = ("image", "sketch", "text")
"""Modalities whose features can be given ready-made."""
LATEST = 256
"""Plans that are kept: callers choose the names in a request."""


@dataclass(eq=False)
class _Plans:
    """Plans by what was asked, all made by the same facts."""

    facts: SearchFacts
    by_request: dict[PlanRequest, Plan] = field(default_factory=dict)


class SearchService:
    """Searches one collection. Threads may share it."""

    def __init__(self, session: Session, views: IndexViews, planner: Planner, statistics: StatisticsCache) -> None:
        self._session = session
        self._views = views
        self._planner = planner
        self._statistics = statistics
        self._plans: _Plans | None = None
        self._watcher: ChangeWatcher | None = None
        self._starting = threading.Lock()
        self._refreshing = threading.Lock()

    # --- by query

    @with_options
    def search(
        self,
        *,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        sketch: Any = None,
        model: str | None = None,
        parts: Sequence[Part] = (),
        weights: Mapping[str, float] | None = None,
        **options: Unpack[SearchKeywords],
    ) -> Hits:
        """The models that most likely produce what is asked for; any combination of queries.

        Args:
            text: what the model should draw; several texts in a list.
            image, sketch: a path, a PIL image or an array ``(h, w[, c])``.
            model: a model's name: find others like it (it is left out of the answers).
            parts: the same as ``Part`` objects, of which there may be several of a kind.
            weights: a part's exponent in the product of experts, by its name: 1e-9 to 1e9 (default 1 each).
            **options: see ``SearchOptions``: ``k``, ``method``, ``where``, ``encoder``, ``shortlist``, ``tempered``,
                ``transform``, ``shortlist_space``, ``recall``.

        Raises:
            InvalidQuery, InvalidFilter, InvalidImage, ModelNotFound, EncoderNotFound, TransformNotFound,
            MissingStatistics
            CorruptData: the transform's stored arrays do not match their checksum.
        """
        given = {"text": text, "image": image, "sketch": sketch, "model": model}
        return self.answer(given_to_parts(given, parts, weights), keywords_to_options(options))

    def answer(self, parts: Sequence[Part], options: SearchOptions) -> Hits:
        """The answers to a query's parts. The database is read twice: facts before, and records after."""
        started = perf_counter()
        modalities = tuple(part.modality for part in parts)
        request = PlanRequest(
            options.encoder, modalities, options.method, options.transform, options.shortlist_space
        )  # fmt: skip
        plan = self.plan(request)
        opened = perf_counter()
        encoded = encode_parts(
            parts,
            plan.view.identity,
            lambda name: self._mean_of(name, plan.view.encoder),
            lambda: self._session.query_encoder(plan.view.identity),
            self._session.settings.max_pixels,
        )
        encoding = perf_counter() - opened
        allowed, remarks = self._session.catalog.matching(options.where)
        ranking = self._rank(plan, encoded, options, allowed)
        fetching = perf_counter()
        several = [part.name for part in encoded] if len(encoded) > 1 else []
        shares = [dict(zip(several, column, strict=False)) for column in ranking.parts.T.tolist()]
        hits = self.records(ranking.ids, ranking.scores, shares)
        ended = perf_counter()
        timings = {
            "open": 1e3 * (opened - started),
            "encode": 1e3 * encoding,
            **ranking.timings_ms,
            "records": 1e3 * (ended - fetching),
            "total": 1e3 * (ended - started),
        }
        return Hits(
            hits,
            method=plan.rule.name,
            timings_ms=timings,
            shortlist=ranking.shortlist,
            left_out=ranking.left_out,
            transform=plan.transform,
            remarks=remarks,
        )

    def _rank(self, plan: Plan, parts: Sequence[QueryPart], options: SearchOptions, allowed: Int64 | None) -> Ranking:
        settings = self._session.settings
        return rank(
            plan,
            self._statistics,
            parts,
            options.k,
            shortlist=options.shortlist or plan.shortlist or settings.shortlist,
            recall=checked_recall(options.recall, settings.recall),
            allowed=allowed,
            tempered=options.tempered,
        )

    def _mean_of(self, name: str, encoder: EncoderRef) -> tuple[int, Float32]:
        model_id = self._session.catalog.model(name).id
        view = self._views.current(encoder)
        return model_id, view.index.vectors(np.array([model_id]))[0]

    # --- by ready features

    def search_vectors(
        self,
        q: NDArray[np.floating[Any]],
        k: int = 10,
        method: str = "first_moment",
        *,
        encoder: str | None = None,
        where: Where | None = None,
        shortlist: int | None = None,
        modality: str = "image",
        transform: str | None = None,
        shortlist_space: str | None = None,
        recall: float | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search by ready features: the fast path, array work alone once the index is in memory.

        Args:
            q: ``(d,)`` or ``(n, d)`` floating, of NumPy or torch (from any device); each row is normalised.
            k: answers a query, at most 10 000 000.
            method: any rule that scores the modality, e.g. ``first_moment`` or ``gaussian_density``.
            where: a filter, see ``engine.filters``; ``remarks`` says which of its values no model has.
            modality: what the features are of, ``image``, ``sketch`` or ``text``: it decides which rules can score
                them, and which transform is the active one.
            transform, shortlist_space: as for ``search``, except that no transform is used unless asked for.
            recall: as for ``search``.

        Returns:
            ``(scores, ids)`` of shape ``(k,)`` or ``(n, k)``, NumPy float32 and int64, best first; missing answers have
            score −inf and id −1. Changes by this process are seen at once; those by others after ``refresh``, which
            is called every ``settings.refresh_interval`` seconds.

        Raises:
            InvalidFeatures: a wrong dimension or dtype, a NaN, or a zero vector.
            InvalidQuery, InvalidFilter, MissingStatistics, EncoderNotFound
        """
        k = checked_k(k)
        recall = checked_recall(recall, self._session.settings.recall)
        request = PlanRequest(encoder, (modality,), method, transform, shortlist_space)
        plans = self._plans
        try:
            if plans is None or plans.facts.commits != self._session.database.commits:
                plan = self._vector_plan(request)
            else:
                found = plans.by_request.get(request)
                plan = self._vector_plan(request) if found is None or found.view.displaced else found
        except TypeError as error:  # a list, say, which has no hash
            raise InvalidQuery(f"encoder, modality, method, transform and space are texts, got {request}") from error
        queries = checked_vectors(q, plan.view.identity.dimension)
        shortlist = checked_shortlist(shortlist)
        allowed = None if where is None else self._session.catalog.matching(where)[0]
        if plan.rule.needs == "mean":
            view = plan.view
            scores, ids = view.index.search(
                view.space.queries_to_vectors(queries), k, allowed=allowed, recall=recall
            )  # fmt: skip
        else:
            options = SearchOptions(k=k, shortlist=shortlist, recall=recall)
            scores, ids = self._reranked(plan, queries, modality, options, allowed)
        return (scores[0], ids[0]) if np.ndim(q) == 1 else (scores, ids)

    def _reranked(
        self, plan: Plan, queries: Float32, modality: str, options: SearchOptions, allowed: Int64 | None
    ) -> tuple[Float32, Int64]:
        scores = np.full((len(queries), options.k), -np.inf, np.float32)
        ids = np.full((len(queries), options.k), -1, np.int64)
        for row, query in enumerate(queries):
            found = self._rank(plan, [QueryPart(modality, query)], options, allowed)
            scores[row, : len(found.ids)] = found.scores
            ids[row, : len(found.ids)] = found.ids
        return scores, ids

    def _vector_plan(self, request: PlanRequest) -> Plan:
        (modality,) = request.modalities
        if modality not in ENCODED:
            raise InvalidQuery(f"vectors are of no modality {modality!r}", hint=f"it is one of {', '.join(ENCODED)}")
        facts = self._session.facts_at_hand()
        plan = self.plan(request, facts)
        self._watch(facts.change)
        return plan

    # --- plans

    def plan(self, request: PlanRequest, facts: SearchFacts | None = None) -> Plan:
        """How a query is answered, by the facts as of now, or by ``facts``. Plans are kept until something changes.

        Raises:
            InvalidQuery, EncoderNotFound, TransformNotFound, MissingStatistics, CorruptData
        """
        for value, what in zip(request[2:], ("method", "transform", "space of the shortlist"), strict=True):
            if value is not None or what == "method":
                checked_text(value, what)
        facts = self._session.facts() if facts is None else facts
        plans = self._plans
        if plans is None or plans.facts is not facts or len(plans.by_request) >= LATEST:
            plans = self._plans = _Plans(facts)
        plan = plans.by_request.get(request)
        if plan is None or plan.view.displaced:
            encoder = self._session.encoder(request.encoder, facts)
            plan = plans.by_request[request] = self._planner.plan(encoder, request, facts)
        return plan

    def warming(self) -> dict[str, Callable[[], object]]:
        """What makes the first searches quick, by what is prepared: to be called one after another.

        Raises:
            EncoderNotFound: there are no statistics yet.
        """
        facts = self._session.facts()
        encoder = self._session.encoder(None, facts)
        count, name = facts.counts[encoder.id], encoder.identity.name
        query = np.ones(encoder.identity.dimension, np.float32)
        stages: dict[str, Callable[[], object]] = {
            f"the index of {count:,} models under {name}": lambda: self.search_vectors(query, 1),
            f"the records of exact rules under {name}": lambda: self.search_vectors(query, 1, AUTO),
        }
        if "text" in encoder.identity.modalities:
            stages[f"the encoder {name}"] = lambda: self.search(text="warm", k=1)
        elif encoder.identity.modalities:
            stages[f"the encoder {name}"] = lambda: self._session.query_encoder(encoder.identity)
        return stages

    def refresh(self) -> None:
        """Let ``search_vectors`` see what other processes have committed (``search`` always does).

        Called by itself every ``settings.refresh_interval`` seconds.
        """
        with self._refreshing:  # one that began later must not be dropped for one that saw less
            known = self._plans
            facts = self._session.facts()
            if known is None or known.facts is facts:
                return
            fresh = _Plans(facts)
            for request in list(known.by_request):
                try:
                    encoder = self._session.encoder(request.encoder, facts)
                    fresh.by_request[request] = self._planner.plan(encoder, request, facts)
                except EngineError:  # its transform is gone, say: whoever searches by it hears of it
                    continue
            if self._plans is known:  # else somebody has planned by newer facts meanwhile
                self._plans = fresh

    def _watch(self, seen: int) -> None:
        """See to it that other processes' changes are noticed from now on."""
        interval = self._session.settings.refresh_interval
        if self._watcher is None and interval:
            with self._starting:
                if self._watcher is None:
                    self._watcher = ChangeWatcher(self, self._session.catalog.last_change, interval, seen)

    def close(self) -> None:
        """Stop noticing other processes' changes."""
        if self._watcher is not None:
            self._watcher.stop()

    # --- records

    def records(
        self, ids: Int64, scores: NDArray[Any], shares: Sequence[Mapping[str, float]] | None = None
    ) -> list[Hit]:
        """What ``search_vectors`` found for one query, ``(k,)`` each, with the models' records.

        Missing answers and models that are gone by now are left out.

        ``shares`` are what the parts contributed to each score.

        Raises:
            InvalidQuery: the ids are not whole numbers.
        """
        given = np.asarray(ids)
        if given.size and given.dtype.kind != "i":
            raise InvalidQuery(f"ids are whole numbers of 64 bits, got {given.dtype}")
        rows = given.tolist()
        models = self._session.catalog.models_by_id(model_id for model_id in rows if model_id >= 0)
        parts = [{}] * len(rows) if shares is None else shares
        there = [one for one in zip(rows, np.asarray(scores).tolist(), parts, strict=True) if one[0] in models]
        return [
            Hit(rank, models[model_id].name, score, models[model_id], part)
            for rank, (model_id, score, part) in enumerate(there, 1)
        ]
