"""Evaluating a collection by judged queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.rerank.statistics_cache import StatisticsCache
from engine.search.plan import PlanRequest
from engine.search.service import SearchService
from engine.session import Session

if TYPE_CHECKING:
    from engine.evaluation import Report
    from engine.evaluation.progress import OnProgress
    from engine.search import Plan


class EvaluationService:
    """Measures how well one collection answers judged queries."""

    def __init__(self, session: Session, search: SearchService, statistics: StatisticsCache) -> None:
        self._session = session
        self._search = search
        self._statistics = statistics

    def evaluate(
        self,
        queries: str | Path | Sequence[Mapping[str, Any]],
        methods: Sequence[str] = ("auto",),
        *,
        encoder: str | None = None,
        shortlist: int | None = None,
        transform: str | None = "auto",
        shortlist_space: str | None = None,
        resamples: int = 2000,
        seed: int = 0,
        full_ranking: bool = True,
        samples_curve: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """How often, and how soon, methods find a model that is right for each judged query.

        Each query is encoded once and ranked by every method that can score it, exactly as ``search`` ranks.

        Args:
            queries: a JSON Lines file, or a list of mappings, with ``model`` (the one to be found) or ``models``
                (any of which is right), one or more of ``text``, ``image`` and ``sketch``, and perhaps ``group`` and
                ``concept``.
            methods: as for ``search``.
            encoder, shortlist, transform, shortlist_space: as for ``search``.
            resamples, seed: of the bootstrap over models or concepts that gives intervals and comparisons.
            full_ranking: rank all models for each query besides, for mAP over all of them and the drop-off of scores.
            samples_curve: recompute statistics from fewer stored samples, and score all models by them; costly.
            on_progress: called with a stage, how much of it is done, and how much there is.

        Raises:
            SourceNotFound, InvalidQuery, InvalidImage, InvalidInput, ModelNotFound, EncoderNotFound,
            TransformNotFound, MissingStatistics: with the place of the query at fault.
        """
        from engine.evaluation import EvaluationOptions, Subject, queries_to_report, read_queries
        from engine.evaluation.progress import silent
        from engine.evaluation.samples_curve import Densities

        length = self._session.settings.shortlist if shortlist is None else shortlist
        methods = (methods,) if isinstance(methods, str) else tuple(methods)
        options = EvaluationOptions(methods, length, resamples, seed, full_ranking, samples_curve)
        judged = read_queries(queries)
        encoder_id, identity = self._session.encoder(encoder)

        def plan_for(method: str, modalities: list[str]) -> Plan:
            plan = self._search.plan(PlanRequest(encoder, tuple(modalities), method, transform, shortlist_space))
            return plan if shortlist is None else replace(plan, shortlist=None)

        def read_samples(ids: list[int]) -> Mapping[int, NDArray[np.float32]]:
            return self._session.catalog.sample_features(encoder_id, ids)[0]

        subject = Subject(
            models={model.name: model for model in self._session.catalog.models()},
            identity=identity,
            encoder=lambda: self._session.query_encoder(identity),
            plan_for=plan_for,
            evidence=self._statistics,
            read_samples=read_samples,
            densities=Densities(self._session.settings.epsilon, self._session.settings.shrinkage),
            max_pixels=self._session.settings.max_pixels,
        )
        return queries_to_report(judged, subject, options, on_progress or silent)
