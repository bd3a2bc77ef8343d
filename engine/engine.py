"""``Engine``: one collection of models, opened. The only object that most programs need."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from engine.config import DEFAULT_ENCODER, Settings
from engine.doctor.service import DoctorService
from engine.errors import Conflict
from engine.evaluation.learn import LearningService
from engine.evaluation.service import EvaluationService
from engine.exchange.service import ExchangeService
from engine.ingest.draw import DrawingService
from engine.ingest.service import IngestService
from engine.ingest.trust import TrustService
from engine.records import EncoderIdentity
from engine.search.browse import BrowseService
from engine.search.explore import MapService
from engine.search.service import SearchService
from engine.search.similar import SimilarModels
from engine.search.upkeep import IndexService
from engine.services import Services
from engine.storage import Catalog, Database, migrate
from engine.storage.copying import refuse_unfinished
from engine.storage.keys import Keys

if TYPE_CHECKING:
    from engine.exchange import ArchiveFile

Given = ParamSpec("Given")
Service = TypeVar("Service")
Result = TypeVar("Result")


def _forward(
    service: Callable[[Services], Service], method: Callable[Concatenate[Service, Given], Result]
) -> Callable[Concatenate[Engine, Given], Result]:
    """A method of ``Engine`` that is a service's: its signature, its documentation, its work."""

    @wraps(method)
    def forwarded(self: Engine, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return method(service(self.services), *args, **kwargs)

    return forwarded


class Engine:
    """A collection of generative models that can be searched by what they draw.

    Open one with ``Engine.open``; use it as a context manager, or call ``close``. Threads may share it.
    """

    def __init__(self, services: Services) -> None:
        """Use ``Engine.open``: it checks the database first."""
        self.services = services
        self.settings = services.session.settings
        self.default_encoder = services.session.default_encoder

    # --- opening and closing

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = False,
        encoder: str | None = None,
        settings: Settings | None = None,
    ) -> Engine:
        """Open a collection.

        Args:
            url: ``sqlite:///zoo.db``, ``sqlite:////absolute/zoo.db`` or ``postgresql://…``. ``?mode=ro`` opens a SQLite
                file for reading only.
            create: make the collection if it is not there; otherwise nothing is created.
            encoder: the default encoder of a collection that is created (``open_clip:ViT-B-32/openai``).
            settings: see ``Settings``.

        Raises:
            InvalidInput: the URL cannot be understood; the hint names the right spelling.
            DatabaseNotFound: there is none and ``create`` is false.
            DatabaseOutdated, DatabaseTooNew: its schema is not this engine's.
            Conflict: it is there, with another default encoder than the one given.
            UnfinishedCopy: a collection is being copied into it, or was in part.
            StorageError: it cannot be read.
        """
        settings = settings or Settings()
        if encoder is not None:
            from engine.encoders import parse_name

            parse_name(encoder)
        database = Database(url, settings, create=create)
        try:
            if create and migrate.current_revision(database) is None:
                migrate.upgrade(database)
            migrate.check(database)
            refuse_unfinished(database)
            if create:
                Catalog(database).initialise(encoder or DEFAULT_ENCODER)
            opened = cls(Services.compose(database, settings))
            if create and encoder not in (None, opened.default_encoder):
                raise Conflict(
                    f"the collection is there and its default encoder is {opened.default_encoder}, not {encoder}",
                    hint="name the encoder at each ingest and search, or start another collection",
                )
            return opened
        except BaseException:
            database.close()
            raise

    @classmethod
    def create_for(
        cls,
        archive: ArchiveFile,
        url: str,
        *,
        settings: Settings | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Engine:
        """A new collection for an archive, with its default encoder, once the archive has been found to be whole.

        Raises:
            InvalidArchive: it is not; nothing was created.
        """
        from engine.exchange import ArchiveReader

        ArchiveReader(archive).verify(None if on_progress is None else partial(on_progress, "verified"))
        return cls.open(url, create=True, encoder=archive.default_encoder, settings=settings)

    def close(self) -> None:
        """Publish the index's snapshot if it is stale, keep the factors that were made, and close the database."""
        self.services.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def index_folder(self) -> Path:
        """Where what is derived from the database lies, and what a server keeps beside it."""
        return self.services.session.index_folder

    @property
    def places(self) -> tuple[str, ...]:
        """Where the collection lies, as messages may name it: files and folders, also absolute, the longest first."""
        path, root = self.services.session.database.path, self.index_folder
        files = [root, root.parent, *([] if path is None else [path, path.parent])]
        forms = {str(form) for one in files for form in (one, one.absolute(), one.resolve())}
        return tuple(sorted(forms, key=len, reverse=True))

    @property
    def keys(self) -> Keys:
        """The API keys that callers of ``engine serve`` show."""
        return Keys(self.services.session.database)

    def encoders(self) -> list[EncoderIdentity]:
        """Encoders whose statistics the collection holds."""
        return [encoder.identity for encoder in self.services.session.encoders()]

    # --- models

    models = _forward(lambda services: services.browse, BrowseService.models)
    remarks = _forward(lambda services: services.browse, BrowseService.remarks)
    page = _forward(lambda services: services.browse, BrowseService.page)
    get = _forward(lambda services: services.browse, BrowseService.get)
    update = _forward(lambda services: services.browse, BrowseService.update)
    remove = _forward(lambda services: services.browse, BrowseService.remove)
    names = _forward(lambda services: services.browse, BrowseService.names)
    thumbnails = _forward(lambda services: services.browse, BrowseService.thumbnails)
    facets = _forward(lambda services: services.browse, BrowseService.facets)
    labels = _forward(lambda services: services.browse, BrowseService.labels)

    # --- searching

    search = _forward(lambda services: services.search, SearchService.search)
    search_vectors = _forward(lambda services: services.search, SearchService.search_vectors)
    records = _forward(lambda services: services.search, SearchService.records)
    refresh = _forward(lambda services: services.search, SearchService.refresh)

    similar = _forward(lambda services: services.similar, SimilarModels.similar)
    distances = _forward(lambda services: services.similar, SimilarModels.distances)

    map = _forward(lambda services: services.maps, MapService.map)
    build_map = _forward(lambda services: services.maps, MapService.build_map)

    # --- ingesting

    ingest = _forward(lambda services: services.ingest, IngestService.ingest)
    ingest_each = _forward(lambda services: services.ingest, IngestService.ingest_each)
    ingest_manifest = _forward(lambda services: services.ingest, IngestService.ingest_manifest)
    ingest_outcome = _forward(lambda services: services.ingest, IngestService.ingest_outcome)
    ingest_statistics = _forward(lambda services: services.ingest, IngestService.ingest_statistics)
    import_moments = _forward(lambda services: services.ingest, IngestService.import_moments)
    check_upload = _forward(lambda services: services.ingest, IngestService.check_upload)

    complete_neighbours = _forward(lambda services: services.indexes, IndexService.complete_neighbours)
    build_index = _forward(lambda services: services.indexes, IndexService.build_index)
    index_status = _forward(lambda services: services.indexes, IndexService.index_status)

    # --- generators

    trust = _forward(lambda services: services.trust, TrustService.trust)
    trust_of = _forward(lambda services: services.trust, TrustService.trust_of)
    revoke_trust = _forward(lambda services: services.trust, TrustService.revoke_trust)
    may_draw = _forward(lambda services: services.trust, TrustService.may_draw)

    draw = _forward(lambda services: services.drawing, DrawingService.draw)
    drawing = _forward(lambda services: services.drawing, DrawingService.drawing)

    # --- archives

    export_archive = _forward(lambda services: services.exchange, ExchangeService.export_archive)
    import_archive = _forward(lambda services: services.exchange, ExchangeService.import_archive)
    backup = _forward(lambda services: services.exchange, ExchangeService.backup)

    # --- quality

    evaluate = _forward(lambda services: services.evaluation, EvaluationService.evaluate)

    learn = _forward(lambda services: services.learning, LearningService.learn)
    transforms = _forward(lambda services: services.learning, LearningService.transforms)
    activate_transform = _forward(lambda services: services.learning, LearningService.activate_transform)
    deactivate_transform = _forward(lambda services: services.learning, LearningService.deactivate_transform)
    remove_transform = _forward(lambda services: services.learning, LearningService.remove_transform)

    doctor = _forward(lambda services: services.doctor, DoctorService.doctor)
