"""Searching a collection: by queries, by ready vectors, by similarity."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._collection import Collection
from engine.errors import CorruptData, InvalidQuery, MissingStatistics, StorageError
from engine.filters import Where
from engine.records import EncoderIdentity, Hit, Hits, QueryPart
from engine.search import Plan, Ranking, query_to_plan, rank
from engine.search.change_watcher import Follower
from engine.search.queries import (
    checked_k,
    checked_recall,
    checked_shortlist,
    checked_text,
    checked_vectors,
    checked_weights,
    query_to_parts,
)
from engine.search.similar import DISTANCES, FRECHET, nearest_now

log = logging.getLogger("engine.search")
ENCODED = ("image", "sketch", "text")
"""Modalities whose features can be given ready-made."""


class Searching(Collection):
    """The side of a collection that answers."""

    def search(
        self,
        *,
        text: str | None = None,
        image: Any = None,
        sketch: Any = None,
        model: str | None = None,
        k: int = 10,
        method: str = "auto",
        weights: Mapping[str, float] | None = None,
        where: Where | None = None,
        encoder: str | None = None,
        shortlist: int | None = None,
        tempered: bool = True,
        transform: str | None = "auto",
        shortlist_space: str | None = None,
        recall: float | None = None,
    ) -> Hits:
        """The models that most likely produce what is asked for; any combination of queries.

        Args:
            text: what the model should draw.
            image, sketch: a path, a PIL image or an array ``(h, w[, c])``.
            model: a model's name: find others like it (it is left out of the answers).
            k: how many answers, at most 10 000 000; as many come back as exist.
            method: ``auto`` (text, model and several together: ``first_moment``; image and sketch:
                ``blend``, unless a transform is active for another method), or a rule by name: see
                ``engine.search.METHODS``.
            weights: a part's exponent in the product of experts, by modality: 1e-9 to 1e9 (default 1 each).
            where: a filter, see ``engine.filters``.
            encoder: whose statistics to search (default: the collection's).
            shortlist: candidates that the exact stage looks at (default ``settings.shortlist``, or, see there,
                ``settings.density_shortlist``).
            tempered: divide each part by its spread over the collection before weighing (several parts only).
            transform: ``auto`` (the active learned transform of the method and modality, if there is one; of several
                parts, only one that is the same for all), None, or a transform's name.
            shortlist_space: where those candidates come from: ``auto``, ``first_moment``, or ``whitened_first_moment``
                or ``linear_density`` where these can be had (default ``settings.shortlist_space``).
            recall: the share of the best first moments that is found, on average, as it was measured when the index was
                built (default ``settings.recall``); 1 means all of them. Small collections are always searched exactly.

        Raises:
            InvalidQuery, InvalidFilter, InvalidImage, ModelNotFound, EncoderNotFound, TransformNotFound,
            MissingStatistics
            CorruptData: the transform's stored arrays do not match their checksum.
        """
        started = perf_counter()
        given = {"text": text, "image": image, "sketch": sketch, "model": model}
        given = {modality: value for modality, value in given.items() if value is not None}
        if not given:
            raise InvalidQuery("there is no query", hint="give a text, an image, a sketch, a model, or several")
        k = checked_k(k)
        recall = checked_recall(recall, self.settings.recall)
        shortlist = checked_shortlist(shortlist)
        weigh = checked_weights(weights, list(given))
        encoder_id, identity = self._searchable(encoder)
        plan = self._plan(encoder_id, identity, list(given), method, transform, shortlist_space)
        opened = perf_counter()
        parts = query_to_parts(
            given, weigh, identity, lambda name: self._mean_of(name, encoder_id, identity),
            lambda: self._matching_encoder(identity), self.settings.max_pixels,
        )  # fmt: skip
        encoded = perf_counter()
        allowed, remarks = self._catalog.matching(where)
        ranking = rank(
            plan.view, self._evidence, plan.rule, parts, k, shortlist=shortlist or self._shortlist(plan),
            recall=recall, allowed=allowed, tempered=tempered, covariance_map=plan.covariance_map,
            shrinkage=plan.shrinkage,
        )  # fmt: skip
        timings = {"open": 1e3 * (opened - started), "encode": 1e3 * (encoded - opened), **ranking.timings_ms}
        return self._hits(
            ranking, plan.rule.name, timings, started, [part.modality for part in parts], plan.transform, remarks
        )  # fmt: skip

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
        recall = checked_recall(recall, self.settings.recall)
        fast = self._fast  # a change puts another dict in its place: a view opened meanwhile goes with the old one
        key = (encoder, modality, method, transform, shortlist_space)
        try:
            plan = fast.get(key)
        except TypeError as error:  # a list, say
            raise InvalidQuery(f"encoder, modality, method, transform and space are texts, got {key!r:.200}") from error
        if plan is None or plan.view.displaced:
            plan = fast[key] = self._fast_plan(*key)
            self._follow()
        queries = checked_vectors(q, plan.view.identity.dimension)
        shortlist = checked_shortlist(shortlist)
        allowed, _ = self._catalog.matching(where)
        scores, ids = self._arrays(plan, queries, k, modality, shortlist, recall, allowed)
        return (scores[0], ids[0]) if np.ndim(q) == 1 else (scores, ids)

    def _fast_plan(
        self, encoder: str | None, modality: str, method: str, transform: str | None, shortlist_space: str | None
    ) -> Plan:
        if modality not in ENCODED:
            raise InvalidQuery(f"vectors are of no modality {modality!r}", hint=f"it is one of {', '.join(ENCODED)}")
        return self._plan(*self._searchable(encoder), [modality], method, transform, shortlist_space)

    def _follow(self) -> None:
        """See to it that others' changes are noticed from now on."""
        if self._follower is None and self.settings.refresh_interval:
            with self._loading:
                if self._follower is None:
                    self._follower = Follower(self, self._catalog.last_change, self.settings.refresh_interval)

    def _arrays(
        self,
        plan: Plan,
        queries: NDArray[np.float32],
        k: int,
        modality: str,
        shortlist: int | None,
        recall: float,
        allowed: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        view = plan.view
        if plan.rule.needs == "mean":
            mapped = view.space.queries_to_vectors(queries)
            scores, ids = view.index.search(mapped, k, allowed=allowed, recall=recall)
        else:
            scores = np.full((len(queries), k), -np.inf, np.float32)
            ids = np.full((len(queries), k), -1, np.int64)
            for row, query in enumerate(queries):
                found = rank(
                    view, self._evidence, plan.rule, [QueryPart(modality, query)], k,
                    shortlist=shortlist or self._shortlist(plan), recall=recall, allowed=allowed,
                    covariance_map=plan.covariance_map, shrinkage=plan.shrinkage,
                )  # fmt: skip
                scores[row, : len(found.ids)] = found.scores
                ids[row, : len(found.ids)] = found.ids
        return scores, ids

    def similar(self, name: str, k: int = 10, *, distance: str = "frechet", encoder: str | None = None) -> Hits:
        """Models whose samples are distributed like this one's.

        Args:
            distance: ``frechet`` (scores are squared distances, lower is nearer; from precomputed lists of
                ``settings.neighbours`` models), or ``cosine`` of means (higher is nearer).

        Raises:
            ModelNotFound, InvalidQuery, MissingStatistics, EncoderNotFound
            CorruptData: what is stored of the model does not match its checksum.
        """
        started = perf_counter()
        if distance not in DISTANCES:
            raise InvalidQuery(f"there is no distance {distance!r}", hint=f"distances are {', '.join(DISTANCES)}")
        k = checked_k(k)
        if distance == "cosine":
            hits = self.search(model=name, k=k, encoder=encoder)
            return Hits(hits, method="cosine", timings_ms=hits.timings_ms, left_out=hits.left_out)
        model = self._catalog.model(name)
        encoder_id, identity = self._searchable(encoder)
        found = self._nearest(encoder_id, identity, model.id, k)
        if not found and model.id not in self._evidence.moments(encoder_id, [model.id]):
            damaged = self._catalog.statistics(encoder_id, [model.id])[1]
            if damaged:
                reason = damaged[model.id]
                raise CorruptData(f"{name!r} under {identity.name}: {reason}", hint="ingest this model again")
            raise MissingStatistics(f"{name!r} has no covariance under {identity.name}", hint="use distance cosine")
        ids = np.array([model_id for model_id, _ in found], np.int64)
        values = np.array([value for _, value in found])
        return self._hits(Ranking(ids, values, values[None]), FRECHET, {}, started, ["model"])

    def _nearest(self, encoder_id: int, identity: EncoderIdentity, model_id: int, k: int) -> list[tuple[int, float]]:
        """A model's list, completed; where nothing can be written it is computed for this answer alone."""
        try:
            self._complete(encoder_id, identity, only=model_id)
        except CorruptData:
            raise
        except StorageError as error:
            log.info("%s; the list of similar models is computed and not kept", error)
            view = self._views.current(encoder_id, identity)
            return (nearest_now(view, self._evidence, self.settings, model_id) or [])[:k]
        return self._neighbours.nearest(encoder_id, FRECHET, model_id, k)

    def _plan(
        self,
        encoder_id: int,
        identity: EncoderIdentity,
        modalities: list[str],
        method: str,
        transform: str | None,
        shortlist_space: str | None,
    ) -> Plan:
        wanted = self.settings.shortlist_space if shortlist_space is None else shortlist_space
        checked_text(method, "method")
        checked_text(wanted, "space of the shortlist")
        if transform is not None:
            checked_text(transform, "transform")
        return query_to_plan(
            self._views, self._maps, encoder_id, identity, modalities,
            method=method, transform=transform, shortlist_space=wanted, shrinkage=self.settings.shrinkage,
            density_shortlist=self.settings.density_shortlist,
        )  # fmt: skip

    def _shortlist(self, plan: Plan) -> int:
        return self.settings.shortlist if plan.shortlist is None else plan.shortlist

    def _mean_of(self, name: str, encoder_id: int, identity: EncoderIdentity) -> tuple[int, NDArray[np.float32]]:
        model_id = self._catalog.model(name).id
        view = self._views.current(encoder_id, identity)
        return model_id, view.index.vectors(np.array([model_id]))[0]

    def records(self, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> list[Hit]:
        """What ``search_vectors`` found for one query, ``(k,)`` each, with the models' records.

        Missing answers and models that are gone by now are left out.

        Raises:
            InvalidQuery: the ids are not whole numbers.
        """
        given = np.asarray(ids)
        if given.size and given.dtype.kind != "i":
            raise InvalidQuery(f"ids are whole numbers of 64 bits, got {given.dtype}")
        return self._records(given.tolist(), np.asarray(scores).tolist(), [{}] * len(given))

    def _records(self, ids: list[int], scores: list[float], shares: Sequence[Mapping[str, float]]) -> list[Hit]:
        models = self._catalog.models_by_id(model_id for model_id in ids if model_id >= 0)
        there = [found for found in zip(ids, scores, shares, strict=True) if found[0] in models]
        return [
            Hit(rank, models[model_id].name, score, models[model_id], parts)
            for rank, (model_id, score, parts) in enumerate(there, 1)
        ]

    def _hits(
        self,
        ranking: Ranking,
        method: str,
        timings: dict[str, float],
        started: float,
        modalities: list[str],
        transform: str | None = None,
        remarks: tuple[str, ...] = (),
    ) -> Hits:
        fetching = perf_counter()
        several = modalities if len(modalities) > 1 else []
        shares = [dict(zip(several, column, strict=False)) for column in ranking.parts.T.tolist()]
        hits = self._records(ranking.ids.tolist(), ranking.scores.tolist(), shares)
        ended = perf_counter()
        timings = {**timings, "records": 1e3 * (ended - fetching), "total": 1e3 * (ended - started)}
        return Hits(
            hits, method=method, timings_ms=timings, shortlist=ranking.shortlist, left_out=ranking.left_out,
            transform=transform, remarks=remarks,
        )  # fmt: skip
