"""Building what searches read: indexes, record files, lists of similar models, and the measured agreement."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from engine.errors import CorruptData, MissingStatistics, TransformNotFound
from engine.records import EncoderRef
from engine.rerank.statistics_cache import StatisticsCache
from engine.search.agreement import SIZES, measure_agreement, save_agreement
from engine.search.plan import Planner, PlanRequest
from engine.search.similar import SimilarModels
from engine.search.spaces import FIRST_MOMENT, GAUSSIAN, LINEAR
from engine.search.status import AGREEMENT, files_to_status, view_to_status
from engine.search.transforms import AUTO, TransformCache
from engine.search.views import IndexViews
from engine.session import Session

log = logging.getLogger("engine.search")
OnProgress = Callable[[str, int, int], None]
SIMILAR = "similar models"


class IndexService:
    """Builds and describes everything derived from the database. Threads may share it."""

    def __init__(
        self, session: Session, views: IndexViews, transforms: TransformCache, statistics: StatisticsCache,
        planner: Planner, similar: SimilarModels,
    ) -> None:  # fmt: skip
        self._session = session
        self._views = views
        self._transforms = transforms
        self._statistics = statistics
        self._planner = planner
        self._similar = similar

    def index_status(self) -> list[dict[str, Any]]:
        """For each encoder and each of its spaces: what the index holds, how fresh it is, where its snapshot lies.

        The first moment's entry says besides what the files of factors and samples hold, how they were used, and how
        far two-stage searches agreed with the exhaustive density when ``build_index`` measured it.
        """
        self._statistics.stores.flush()
        weight, found = self._session.settings.shrinkage, []
        for encoder in self._session.encoders():
            for key, version in {FIRST_MOMENT: "", **self._transforms.versions(encoder.id, weight)}.items():
                if key != LINEAR or self._has_linear(encoder):
                    status = view_to_status(self._views, self._session.catalog, encoder, key, version)
                    files = files_to_status(self._views, encoder.identity, weight) if key == FIRST_MOMENT else {}
                    found.append({**status, **files})
        return found

    def build_index(self, on_progress: OnProgress | None = None) -> list[dict[str, Any]]:
        """Rebuild every index from the database and publish it, and complete the lists of similar models.

        Whitenings are fitted again where statistics have changed. The files of factors and samples that the exact
        rules read are completed; a run that was interrupted goes on where it stopped. At last it is measured how far
        two-stage searches agree with the exhaustive density here: see ``index_status``.

        Args:
            on_progress: called with (stage, done, total).
        """
        for encoder in self._session.encoders():
            self._build_indexes(encoder)
            self._similar.complete(encoder, on_progress=on_progress and partial(on_progress, SIMILAR))
            self.keep_records(encoder, on_progress)
            self.measure_agreement(encoder)
        return self.index_status()

    def _build_indexes(self, encoder: EncoderRef) -> None:
        self._views.rebuild(encoder)
        with contextlib.suppress(MissingStatistics):  # one model, or no covariances: the other indexes do
            self._transforms.whitened(encoder, exactly=True)
        for transform in self._transforms.indexed(encoder.id):
            try:
                self._views.rebuild(encoder, self._transforms.space(transform))
            except TransformNotFound:  # another process has just replaced it
                continue
            except CorruptData as error:  # searches by it say so; the other indexes do not wait for it
                log.warning("%s", error)
        if self._has_linear(encoder):
            with contextlib.suppress(MissingStatistics):
                self._views.rebuild(encoder, self._transforms.linear(encoder, self._session.settings.shrinkage))

    def complete_neighbours(self, on_progress: Callable[[int, int], None] | None = None) -> int:
        """Compute every list of similar models that is missing or stale; how many there were.

        Where there are files of factors and samples, what they lack goes into them as well.
        """
        count = 0
        for encoder in self._session.encoders():
            count += self._similar.complete(encoder, on_progress=on_progress)
            self.keep_records(encoder, started=True)
        return count

    def keep_records(
        self, encoder: EncoderRef, on_progress: OnProgress | None = None, *, started: bool = False,
        verified: bool = False,
    ) -> None:  # fmt: skip
        """Complete the files that exact rules read; with ``started`` only where there are such.

        With ``verified`` what is in them is hashed first, and made again where it is damaged.
        """
        view = self._views.current(encoder)
        toward = self._transforms.shrinkage(encoder, self._session.settings.shrinkage)
        if verified:
            self._statistics.stores.verify(view, toward)
        if not started or self._statistics.stores.has_files(view, toward):
            self._statistics.stores.build(view, toward, on_progress)

    def measure_agreement(self, encoder: EncoderRef) -> None:
        """Keep beside the index how far two-stage searches agree with the exhaustive density."""
        request = PlanRequest(encoder.identity.name, ("image",), GAUSSIAN, None)
        plan = self._planner.plan(encoder, request, self._session.facts())
        sizes = (*SIZES, plan.shortlist or self._session.settings.shortlist)
        agreement = measure_agreement(plan.view, self._statistics, plan.shrinkage, sizes)
        save_agreement(self._views.beside(encoder.identity, AGREEMENT), agreement)

    def _has_linear(self, encoder: EncoderRef) -> bool:
        """Whether densities are searched as inner products here: the settings say so, or somebody has.

        The settings say so, too, of collections with more models than a shortlist takes.
        """
        settings = self._session.settings
        many = settings.shortlist_space == AUTO and self._session.facts().counts[encoder.id] > settings.shortlist
        return settings.shortlist_space == LINEAR or many or self._views.has(encoder, LINEAR)
