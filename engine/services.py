"""The services of one opened collection, each handed what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import Settings
from engine.doctor.service import DoctorService
from engine.evaluation.learn import LearningService
from engine.evaluation.service import EvaluationService
from engine.exchange.service import ExchangeService
from engine.ingest.draw import DrawingService
from engine.ingest.service import IngestService
from engine.ingest.trust import TrustService
from engine.rerank.gpu_densities import Card
from engine.rerank.scorer import Files
from engine.rerank.statistics_cache import StatisticsCache
from engine.search.browse import BrowseService
from engine.search.explore import MapService
from engine.search.plan import Planner
from engine.search.service import SearchService
from engine.search.similar import SimilarModels
from engine.search.transforms import TransformCache
from engine.search.upkeep import IndexService
from engine.search.views import IndexViews
from engine.session import Session
from engine.storage import Catalog, Database, Neighbours, Transforms


@dataclass(frozen=True, eq=False)
class Services:
    """What an ``Engine`` is made of. Programs that go beneath its calls find the parts here; tests do."""

    session: Session
    views: IndexViews
    transforms: TransformCache
    statistics: StatisticsCache
    neighbours: Neighbours
    browse: BrowseService
    search: SearchService
    similar: SimilarModels
    maps: MapService
    indexes: IndexService
    trust: TrustService
    drawing: DrawingService
    ingest: IngestService
    exchange: ExchangeService
    evaluation: EvaluationService
    learning: LearningService
    doctor: DoctorService

    @classmethod
    def compose(cls, database: Database, settings: Settings) -> Services:
        """The services of the collection in a database.

        Raises:
            DatabaseNotFound: the collection was never completed.
        """
        session = Session(database, settings)
        catalog = session.catalog
        views = IndexViews(catalog, session.index_folder, settings.index_kind)
        transforms = TransformCache(catalog, Transforms(database), session.facts)
        files = Files(views.beside, settings.factor_file_bytes, settings.sample_file_bytes)
        on_gpu = settings.rerank_device != "cpu"
        card = Card(settings.rerank_device, settings.card_factor_bytes) if on_gpu else None
        statistics = StatisticsCache(catalog, settings.factor_cache_bytes, files, card)
        neighbours = Neighbours(database)
        planner = Planner(views, transforms, settings)
        search = SearchService(session, views, planner, statistics)
        similar = SimilarModels(session, views, statistics, neighbours, search)
        indexes = IndexService(session, views, transforms, statistics, planner, similar)
        trust = TrustService(session)
        return cls(
            session,
            views,
            transforms,
            statistics,
            neighbours,
            BrowseService(session),
            search,
            similar,
            MapService(session, views),
            indexes,
            trust,
            DrawingService(session, trust),
            IngestService(session, trust, lambda encoder, model_id: similar.complete(encoder, only=model_id)),
            ExchangeService(session),
            EvaluationService(session, search, statistics),
            LearningService(session, views, transforms, statistics),
            DoctorService(session, views, transforms, statistics, neighbours, similar, indexes),
        )

    @property
    def catalog(self) -> Catalog:
        """The catalogue of models."""
        return self.session.catalog

    @property
    def database(self) -> Database:
        """The database."""
        return self.session.database

    def close(self) -> None:
        """Publish stale snapshots, keep the records that were made, and close the database."""
        self.search.close()
        self.views.publish_stale()
        self.statistics.stores.flush()
        self.session.close()
