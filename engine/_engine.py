"""``Engine``: one collection of models, opened. The only object that most programs need."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.config import DEFAULT_ENCODER, Settings, cache_folder
from engine.errors import (
    DatabaseNotFound,
    EncoderMismatch,
    EncoderNotFound,
    EngineError,
    InvalidInput,
    InvalidQuery,
    MissingStatistics,
    ModelNotFound,
)
from engine.ingest import IngestResult, OnProgress, ingest_source
from engine.ingest.report import IngestOutcome, IngestReport
from engine.records import EncoderIdentity, Hit, Hits, Model, QueryPart, Thumbnail
from engine.samples import MomentsSource, open_source
from engine.search import Evidence, IndexView, IndexViews, Ranking, rank, rule_for
from engine.search.queries import checked_vectors, checked_weights, query_to_parts
from engine.search.similar import DISTANCES, FRECHET, complete_neighbours
from engine.storage import Catalog, Database, Neighbours, migrate
from engine.storage.details import DETAILS, checked_details, checked_name
from engine.storage.filters import Where

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.encoders.protocol import Encoder

log = logging.getLogger("engine")
Strings = Sequence[str]


class Engine:
    """A collection of generative models that can be searched by what they draw.

    Open one with ``Engine.open``; use it as a context manager, or call ``close``. Threads may share it.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        """Use ``Engine.open``: it checks the database first."""
        self.settings = settings
        self._database = database
        self._catalog = Catalog(database)
        facts = self._catalog.facts()
        if "id" not in facts:
            raise DatabaseNotFound(
                f"the collection in {database.shown_url} was never completed",
                hint=f"run: engine init --database {database.shown_url}",
            )
        self.default_encoder = facts["default_encoder"]
        self._neighbours = Neighbours(database)
        self._views = IndexViews(self._catalog, _index_root(database, settings, facts["id"]))
        self._evidence = Evidence(self._catalog, settings.factor_cache_bytes)
        self._encoders: dict[str, Encoder] = {}
        self._fast: dict[str | None, IndexView] = {}
        self._loading = threading.Lock()

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
            url: ``sqlite:///zoo.db``, ``sqlite:////absolute/zoo.db`` or ``postgresql+psycopg://…``.
            create: make the collection if it is not there; otherwise nothing is created.
            encoder: the default encoder of a collection that is created (``open_clip:ViT-B-32/openai``).
            settings: see ``Settings``.

        Raises:
            DatabaseNotFound: there is none and ``create`` is false.
            DatabaseOutdated, DatabaseTooNew: its schema is not this engine's.
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
            if create:
                Catalog(database).initialise(encoder or DEFAULT_ENCODER)
            return cls(database, settings)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Publish the index's snapshot if it is stale, and close the database."""
        self._views.publish_stale()
        self._database.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> None:
        """Let ``search_vectors`` see what other processes have committed (``search`` always does)."""
        self._fast.clear()

    # --- models

    def ingest(
        self,
        source: Any,
        *,
        name: str | None = None,
        encoder: str | None = None,
        tags: Strings | None = None,
        description: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        trust: bool = False,
        on_progress: OnProgress | None = None,
        **metadata: Any,
    ) -> Model:
        """Add a model, or replace it if its content has changed; unchanged content changes only what is said of it.

        Args:
            source: a folder or archive of pictures, a ``.npy``/``.npz`` of features or moments, a ``.onnx`` decoder,
                ``python:MODULE:CALLABLE``, ``program:COMMAND``, ``diffusers:PATH_OR_ID``, a dict as in a manifest,
                an ``(n, d)`` array of features, a callable, or an open source or generator.
            name: default: the file's or folder's name.
            encoder: default: the collection's.
            samples: how many to draw from a generator.
            seed: where a generator's drawing starts.
            trust: let a generator run a program or Python code.
            on_progress: called with (done, total, quarantined).
            **metadata: ``kind``, ``author``, ``license``, ``base_model``, ``links``, ``resolution``; anything else is
                kept as free metadata.

        Raises:
            EngineError: see ``engine.errors``; whatever is raised, nothing of the model was written.
        """
        details = _details(tags, description, metadata)
        return self._ingest(source, name, encoder, details, samples, seed, trust, on_progress, None).model

    def _ingest(
        self,
        source: Any,
        name: str | None,
        encoder: str | None,
        details: dict[str, Any],
        samples: int | None,
        seed: int,
        trust: bool,
        on_progress: OnProgress | None,
        base: Path | None,
        *,
        neighbours: bool = True,
    ) -> IngestResult:
        name = checked_name(name if name is not None else _name_of(source))
        details = checked_details(details)
        opened = open_source(source, settings=self.settings, samples=samples, seed=seed, trust=trust, base=base)
        try:
            if "kind" not in details and not self._has(name):
                described = opened.describe().get("generator")
                details["kind"] = described["type"] if described else "unknown"
            loaded, identity = self._encoder_for(encoder or self.default_encoder, opened)
            result = ingest_source(
                self._catalog,
                self.settings,
                opened,
                name=name,
                details=details,
                encoder=loaded,
                identity=identity,
                on_progress=on_progress,
            )
        finally:
            opened.close()
        self._fast.clear()
        if neighbours and result.changed:
            encoder_id, _ = self._catalog.encoder_by_name(identity.name)
            self._complete(encoder_id, identity, only=result.model.id)
        return result

    def ingest_manifest(
        self,
        path: str | Path,
        *,
        encoder: str | None = None,
        trust: bool = False,
        on_entry: Callable[[int, int, str], OnProgress | None] | None = None,
        on_outcome: Callable[[IngestOutcome], None] | None = None,
    ) -> IngestReport:
        """Ingest every entry of a YAML or JSON Lines manifest; a bad entry is reported and the rest go on.

        Args:
            on_entry: called with (number, entries, name) before each; may return an ``on_progress`` for it.
            on_outcome: called after each.

        Raises:
            InvalidManifest: the file as a whole cannot be read.
        """
        from engine.samples.manifest import ManifestError, read_manifest

        entries = list(read_manifest(Path(path)))
        report = IngestReport()
        for number, entry in enumerate(entries, 1):
            name = entry.name or f"entry {number}"
            progress = on_entry(number, len(entries), name) if on_entry else None
            if isinstance(entry, ManifestError):
                outcome = IngestOutcome(name, "failed", error=entry.error)
            else:
                known = self._has(name)
                try:
                    result = self._ingest(
                        entry.source, entry.name, entry.encoder or encoder, dict(entry.details()),
                        entry.samples, entry.seed, trust, progress, Path(path).parent, neighbours=False,
                    )  # fmt: skip
                except EngineError as error:
                    outcome = IngestOutcome(name, "failed", error=error)
                else:
                    status = "unchanged" if not result.changed else "replaced" if known else "added"
                    outcome = IngestOutcome(name, status, result.model)
            report.outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
        return report

    def complete_neighbours(self, on_progress: Callable[[int, int], None] | None = None) -> int:
        """Compute every list of similar models that is missing or stale; how many there were."""
        return sum(
            self._complete(encoder_id, identity, on_progress=on_progress)
            for encoder_id, identity in self._catalog.encoders().items()
        )

    def models(self, where: Where | None = None) -> list[Model]:
        """Models that a filter admits, by name.

        Raises:
            InvalidFilter
        """
        return self._catalog.models(where)

    def get(self, name: str) -> Model:
        """The model of that name.

        Raises:
            ModelNotFound
        """
        return self._catalog.model(name)

    def update(self, name: str, /, **changes: Any) -> Model:
        """Change what is said of a model: ``name`` (renames), ``tags``, ``description``, ``kind``, ``author`` ….

        Raises:
            ModelNotFound, DuplicateName, InvalidInput
        """
        return self._catalog.update(name, changes)

    def remove(self, name: str) -> None:
        """Remove a model and everything of it.

        Raises:
            ModelNotFound
        """
        self._catalog.remove(name)
        self._fast.clear()

    def names(self, ids: Any) -> Any:
        """Names of models by their ids, in the shape of ``ids`` (a list, or nested lists); None where there is none."""
        array = np.asarray(ids, np.int64)
        known = self._catalog.names({int(i) for i in array.ravel() if i >= 0})
        named = np.empty(array.shape, object)
        for place, model_id in np.ndenumerate(array):
            named[place] = known.get(int(model_id))
        return named.tolist()

    def thumbnails(self, name: str) -> list[Thumbnail]:
        """A model's preview pictures.

        Raises:
            ModelNotFound
        """
        return self._catalog.thumbnails(self._catalog.model(name).id)

    def draw(self, name: str, count: int = 1, *, seed: int = 0, trust: bool = False) -> list[Image]:
        """Draw new images from the generator that a model was ingested from.

        Raises:
            MissingStatistics: the model was not ingested from a generator.
            NotTrusted: its generator runs code, and ``trust`` is false.
            GeneratorError: it failed.
        """
        from engine.samples.generators import draw

        model = self._catalog.model(name)
        if model.generator is None:
            raise MissingStatistics(
                f"{name!r} was ingested from finished samples, so none can be drawn",
                hint="ingest it from its generator",
            )
        return draw(dict(model.generator), count, seed, trust)

    # --- search

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
    ) -> Hits:
        """The models that most likely produce what is asked for; any combination of queries.

        Args:
            text: what the model should draw.
            image, sketch: a path, a PIL image or an array ``(h, w[, c])``.
            model: a model's name: find others like it (it is left out of the answers).
            k: how many answers; as many come back as exist.
            method: ``auto`` (text, sketch, model and several together: ``first_moment``; image:
                ``gaussian_density``), or a rule by name: see ``engine.search.METHODS``.
            weights: a part's exponent in the product of experts, by modality (default 1 each).
            where: a filter, see ``engine.storage.filters``.
            encoder: whose statistics to search (default: the collection's).
            shortlist: first-moment candidates that the exact stage looks at (default ``settings.shortlist``).
            tempered: divide each part by its spread over the collection before weighing (several parts only).

        Raises:
            InvalidQuery, InvalidFilter, InvalidImage, ModelNotFound, EncoderNotFound, MissingStatistics
        """
        started = perf_counter()
        given = {"text": text, "image": image, "sketch": sketch, "model": model}
        given = {modality: value for modality, value in given.items() if value is not None}
        if not given:
            raise InvalidQuery("there is no query", hint="give a text, an image, a sketch, a model, or several")
        rule = rule_for(method, list(given))
        weigh = checked_weights(weights, list(given))
        encoder_id, identity = self._searchable(encoder)
        view = self._views.current(encoder_id, identity)
        opened = perf_counter()
        parts = query_to_parts(
            given, weigh, view, self._catalog, lambda: self._matching_encoder(identity), self.settings.max_pixels
        )
        encoded = perf_counter()
        allowed = None if where is None else self._catalog.matching_ids(where)
        ranking = rank(
            view, self._evidence, rule, parts, k,
            shortlist=shortlist or self.settings.shortlist, allowed=allowed, tempered=tempered,
        )  # fmt: skip
        timings = {"open": 1e3 * (opened - started), "encode": 1e3 * (encoded - opened), **ranking.timings_ms}
        return self._hits(ranking, rule.name, timings, started, [part.modality for part in parts])

    def search_vectors(
        self,
        q: NDArray[np.floating[Any]],
        k: int = 10,
        method: str = "first_moment",
        *,
        encoder: str | None = None,
        where: Where | None = None,
        shortlist: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search by ready features: the fast path, array work alone once the index is in memory.

        Args:
            q: ``(d,)`` or ``(n, d)`` floating; each row is normalised.
            k: answers a query.
            method: any rule for images, e.g. ``first_moment`` or ``gaussian_density``.

        Returns:
            ``(scores, ids)`` of shape ``(k,)`` or ``(n, k)``, float32 and int64, best first; missing answers have
            score −inf and id −1. Changes by this process are seen; for other processes' call ``refresh``.

        Raises:
            InvalidFeatures: a wrong dimension or dtype, a NaN, or a zero vector.
            InvalidQuery, InvalidFilter, MissingStatistics, EncoderNotFound
        """
        view = self._fast.get(encoder)
        if view is None:
            view = self._fast[encoder] = self._views.current(*self._searchable(encoder))
        queries = checked_vectors(q, view.identity.dimension)
        if k < 1:
            raise InvalidQuery(f"k must be at least 1, got {k}")
        allowed = None if where is None else self._catalog.matching_ids(where)
        if method == "first_moment":
            scores, ids = view.index.search(queries, k, allowed=allowed)
        else:
            rule = rule_for(method, ["image"])
            scores = np.full((len(queries), k), -np.inf, np.float32)
            ids = np.full((len(queries), k), -1, np.int64)
            for row, query in enumerate(queries):
                found = rank(
                    view, self._evidence, rule, [QueryPart("image", query)], k,
                    shortlist=shortlist or self.settings.shortlist, allowed=allowed,
                )  # fmt: skip
                scores[row, : len(found.ids)] = found.scores
                ids[row, : len(found.ids)] = found.ids
        return (scores[0], ids[0]) if np.ndim(q) == 1 else (scores, ids)

    def similar(self, name: str, k: int = 10, *, distance: str = "frechet", encoder: str | None = None) -> Hits:
        """Models whose samples are distributed like this one's.

        Args:
            distance: ``frechet`` (scores are squared distances, lower is nearer; from precomputed lists of
                ``settings.neighbours`` models), or ``cosine`` of means (higher is nearer).

        Raises:
            ModelNotFound, InvalidQuery, MissingStatistics, EncoderNotFound
        """
        started = perf_counter()
        if distance not in DISTANCES:
            raise InvalidQuery(f"there is no distance {distance!r}", hint=f"distances are {', '.join(DISTANCES)}")
        if distance == "cosine":
            hits = self.search(model=name, k=k, encoder=encoder)
            return Hits(hits, method="cosine", timings_ms=hits.timings_ms, left_out=hits.left_out)
        if k < 1:
            raise InvalidQuery(f"k must be at least 1, got {k}")
        model = self._catalog.model(name)
        encoder_id, identity = self._searchable(encoder)
        self._complete(encoder_id, identity, only=model.id)
        found = self._neighbours.nearest(encoder_id, FRECHET, model.id, k)
        if not found and model.id not in self._evidence.moments(encoder_id, [model.id]):
            raise MissingStatistics(f"{name!r} has no covariance under {identity.name}", hint="use distance cosine")
        ids = np.array([model_id for model_id, _ in found], np.int64)
        values = np.array([value for _, value in found])
        return self._hits(Ranking(ids, values, values[None]), FRECHET, {}, started, ["model"])

    # --- encoders and the index

    def encoders(self) -> list[EncoderIdentity]:
        """Encoders whose statistics the collection holds."""
        return list(self._catalog.encoders().values())

    def index_status(self) -> list[dict[str, Any]]:
        """For each encoder: what its index holds, how fresh it is, and where its snapshot lies."""
        from engine.search.status import view_to_status

        return [
            view_to_status(self._views, self._catalog, encoder_id, identity)
            for encoder_id, identity in self._catalog.encoders().items()
        ]

    def build_index(self) -> list[dict[str, Any]]:
        """Rebuild every index from the database, publish it, and complete the lists of similar models."""
        for encoder_id, identity in self._catalog.encoders().items():
            self._views.rebuild(encoder_id, identity)
            self._complete(encoder_id, identity)
        self._fast.clear()
        return self.index_status()

    def doctor(self) -> list[Any]:
        """Compare database and index, id by id and by checksum: a list of ``Finding``."""
        from engine.search.doctor import examine

        return examine(self._database, self._catalog, self._views, self._neighbours)

    # --- inside

    def _has(self, name: str) -> bool:
        try:
            self._catalog.model(name)
        except ModelNotFound:
            return False
        return True

    def _complete(
        self,
        encoder_id: int,
        identity: EncoderIdentity,
        *,
        only: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> int:
        view = self._views.current(encoder_id, identity)
        return complete_neighbours(
            view, self._evidence, self._neighbours, self.settings, only=only, on_progress=on_progress
        )

    def _load(self, name: str) -> Encoder:
        from engine.encoders import load_encoder

        with self._loading:
            if name not in self._encoders:
                self._encoders[name] = load_encoder(name, device=self.settings.device)
            return self._encoders[name]

    def _encoder_for(self, name: str, source: Any) -> tuple[Encoder | None, EncoderIdentity]:
        """The encoder for a source; for features and moments only its identity is needed."""
        from engine.encoders import external_identity, is_external
        from engine.samples import FeatureSource

        if not isinstance(source, (FeatureSource, MomentsSource)):
            encoder = self._load(name)
            return encoder, encoder.identity
        for identity in self._catalog.encoders().values():
            if identity.name == name:
                return None, identity
        if is_external(name):
            dimension = source.mean.size if isinstance(source, MomentsSource) else source.dimension
            return None, external_identity(name, dimension)
        return None, self._load(name).identity

    def _searchable(self, name: str | None) -> tuple[int, EncoderIdentity]:
        """The encoder whose statistics a search reads."""
        if name is not None:
            return self._catalog.encoder_by_name(name)
        known = self._catalog.encoders()
        for encoder_id, identity in known.items():
            if identity.name == self.default_encoder:
                return encoder_id, identity
        if len(known) == 1:
            return next(iter(known.items()))
        names = ", ".join(identity.name for identity in known.values())
        raise EncoderNotFound(
            f"the collection has no statistics of its default encoder {self.default_encoder!r}",
            hint=f"name one of: {names}" if names else "ingest a model first",
        )

    def _matching_encoder(self, identity: EncoderIdentity) -> Encoder:
        encoder = self._load(identity.name)
        if encoder.identity.fingerprint != identity.fingerprint:
            raise EncoderMismatch(
                f"the encoder {identity.name!r} here ({encoder.identity.fingerprint[:12]}) is not the one that made "
                f"the collection's statistics ({identity.fingerprint[:12]})",
                hint="install the version that made the collection, or ingest the models again",
            )
        return encoder

    def _hits(
        self, ranking: Ranking, method: str, timings: dict[str, float], started: float, modalities: list[str]
    ) -> Hits:
        fetching = perf_counter()
        models = self._catalog.models_by_id(ranking.ids.tolist())
        hits: list[Hit] = []
        for place, model_id in enumerate(ranking.ids.tolist()):
            if model_id not in models:  # removed since the index was read
                continue
            model = models[model_id]
            several = len(modalities) > 1
            shares = {m: float(ranking.parts[i, place]) for i, m in enumerate(modalities)} if several else {}
            hits.append(Hit(len(hits) + 1, model.name, float(ranking.scores[place]), model, shares))
        ended = perf_counter()
        timings = {**timings, "records": 1e3 * (ended - fetching), "total": 1e3 * (ended - started)}
        return Hits(hits, method=method, timings_ms=timings, shortlist=ranking.shortlist, left_out=ranking.left_out)


def _details(tags: Strings | None, description: str | None, metadata: dict[str, Any]) -> dict[str, Any]:
    if "licence" in metadata:
        metadata["license"] = metadata.pop("licence")
    details = {key: value for key, value in metadata.items() if key in DETAILS}
    extra = {key: value for key, value in metadata.items() if key not in DETAILS}
    if extra:
        details["metadata"] = {**details.get("metadata", {}), **extra}
    if tags is not None:
        details["tags"] = tags
    if description is not None:
        details["description"] = description
    return details


def _name_of(source: Any) -> str:
    if isinstance(source, (str, Path)) and ":" not in str(source):
        path = Path(source)
        return path.resolve().name if path.is_dir() else path.name.split(".")[0]
    raise InvalidInput(f"a model ingested from {source!r:.80} needs a name", hint="give name=… or --name")


def _index_root(database: Database, settings: Settings, collection: str) -> Path:
    if settings.index_folder is not None:
        return Path(settings.index_folder)
    if database.path is not None:
        return database.path.with_name(database.path.name + ".index")
    return cache_folder() / "index" / collection
