"""The doctor of one opened collection."""

from __future__ import annotations

from engine.doctor.examine import Collection, OnProgress, examine
from engine.doctor.findings import Finding
from engine.doctor.repair import repair as repair_collection
from engine.rerank.statistics_cache import StatisticsCache
from engine.search.similar import SimilarModels
from engine.search.transforms import TransformCache
from engine.search.upkeep import IndexService
from engine.search.views import IndexViews
from engine.session import Session
from engine.storage import Neighbours


class DoctorService:
    """Looks for damage in one collection, and repairs what can be made again."""

    def __init__(
        self,
        session: Session,
        views: IndexViews,
        transforms: TransformCache,
        statistics: StatisticsCache,
        neighbours: Neighbours,
        similar: SimilarModels,
        indexes: IndexService,
    ) -> None:
        self._collection = Collection(
            session.database,
            session.catalog,
            views,
            statistics,
            neighbours,
            transforms,
            session.settings,
            similar,
            indexes,
        )

    def doctor(self, *, repair: bool = False, on_progress: OnProgress | None = None) -> list[Finding]:
        """Compare everything stored with everything derived from it, id by id and by checksum.

        Database, transforms, index snapshots, files of factors and samples, lists of similar models, previews and
        checkpoints. Damage to one model's stored statistics concerns that model alone: whatever reads what is damaged
        leaves it out.

        Args:
            repair: make again, from the database, whatever is derived and damaged or behind, and examine again. The
                findings that this has mended come first, with ``repaired`` true. Nothing is changed in the statistics.
            on_progress: called with (stage, done, total).

        Returns:
            What was found; nothing where all is well.
        """
        return repair_collection(self._collection, on_progress) if repair else examine(self._collection, on_progress)
