"""Comparing what is stored with what is derived, id by id and by checksum: database, indexes, records, lists, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from engine.config import Settings
from engine.doctor.derived import record_findings, shown_findings, snapshot_findings
from engine.doctor.findings import DAMAGE, NOTE, STALE, Commands, Finding, Mend
from engine.errors import CorruptData, EngineError, InvalidImage
from engine.ingest.state import bytes_to_state
from engine.records import EncoderIdentity, EncoderRef
from engine.rerank.statistics_cache import StatisticsCache
from engine.samples import bytes_to_image
from engine.samples.media import media_type
from engine.scores import Whitening
from engine.search import IndexViews, TransformCache
from engine.search.similar import SimilarModels
from engine.search.spaces import IDENTITY, WHITENED, Space, arrays_to_space, whitening_to_linear
from engine.search.upkeep import IndexService
from engine.storage import Catalog, Database, Neighbours
from engine.storage.checks import Checks, Fault
from engine.storage.details import checked_name
from engine.storage.sources import row_to_origin

OnProgress = Callable[[str, int, int], None]
NAMED = 20
"""Models that are named one by one where a list of many is wrong."""


@dataclass(frozen=True, eq=False)
class Collection:
    """The parts of an open collection that are examined, and what builds them again."""

    database: Database
    catalog: Catalog
    views: IndexViews
    statistics: StatisticsCache
    neighbours: Neighbours
    transforms: TransformCache
    settings: Settings
    similar: SimilarModels
    indexes: IndexService

    @property
    def checks(self) -> Checks:
        """The questions about the database."""
        return Checks(self.database)

    @property
    def commands(self) -> Commands:
        """What can be pasted."""
        return Commands(self.database.shown_url)


def examine(collection: Collection, on_progress: OnProgress | None = None) -> list[Finding]:
    """Every finding; an empty list means that all is well.

    Blobs are read in blocks: memory does not grow with the collection but by a few bytes a model. Writers may go on
    meanwhile. ``on_progress`` is called with (stage, done, total).
    """
    findings = _guarded(collection, "the database", partial(_database, collection))
    for encoder in (EncoderRef(*pair) for pair in collection.catalog.encoders().items()):
        identity = encoder.identity
        faults: dict[int, str] = {}
        findings += _guarded(
            collection, identity.name, partial(_statistics, collection, encoder, faults, on_progress)
        )  # fmt: skip
        spaces, transforms = _spaces(collection, encoder)
        findings += transforms
        for space in spaces:
            findings += snapshot_findings(
                collection.checks,
                collection.catalog,
                collection.views,
                encoder,
                space,
                faults,
                collection.commands,
                on_progress,
            )
        findings += record_findings(collection.catalog, collection.views, encoder, collection.commands, on_progress)
        findings += shown_findings(collection.views, encoder, collection.commands)
        findings += _guarded(collection, identity.name, partial(_neighbours, collection, encoder, faults))
    findings += _guarded(collection, "the previews", partial(_thumbnails, collection))
    findings += _guarded(collection, "the checkpoints", partial(_checkpoints, collection))
    return findings


def _guarded(collection: Collection, what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """A part of the database that cannot be read at all is a finding, and no reason not to look at the others."""
    try:
        return look()
    except EngineError as error:
        repair = error.hint or f"restore the database from a backup, then: {collection.commands.repair()}"
        return [Finding(DAMAGE, f"{what} cannot be read: {error.message}", repair)]


def _database(collection: Collection) -> list[Finding]:
    checks, repair = collection.checks, collection.commands.repair()
    kind = "SQLite" if collection.database.is_sqlite else "Postgres"
    restore = f"restore the database from a backup (engine backup makes one), then: {repair}"
    findings = [Finding(DAMAGE, f"{kind}: {line}", restore) for line in checks.file_faults()]
    findings += [
        Finding(DAMAGE, f"{count} rows of {table} refer to rows that are not there", repair, Mend("orphans", 0, table))
        for table, count in checks.orphans().items()
    ]
    return findings + list(_json(collection)) + list(_names(collection))


def _json(collection: Collection) -> Iterator[Finding]:
    database = f"--database {collection.commands.url}"
    for table, column, row_id in collection.checks.json_faults():
        said = f"{column} of {table} cannot be read"
        if table in ("models", "statistics"):
            name = collection.catalog.names([row_id]).get(row_id, f"id {row_id}")
            steps = (
                f"describe it again (engine update {name} … {database}), or ingest it again; it is searched as before"
            )
            yield Finding(DAMAGE, f"{name}: {said}", steps)
        else:
            yield Finding(DAMAGE, f"{table[:-1]} {row_id}: {said}", f"make it again, or restore a backup ({database})")


def _names(collection: Collection) -> Iterator[Finding]:
    for model_id, name in collection.checks.names():
        try:
            checked_name(name)
        except EngineError as error:
            yield Finding(
                DAMAGE,
                f"model id {model_id}: {error.message}",
                "restore the database from a backup, or rename the model",
            )


def _statistics(
    collection: Collection,
    encoder: EncoderRef,
    faults: dict[int, str],
    on_progress: OnProgress | None,
) -> list[Finding]:
    """Moments and sample features; ``faults`` takes the models whose moments are damaged."""
    findings: list[Finding] = []
    total = collection.catalog.statistics_count(encoder.id)
    most = max(collection.settings.kept_features, 1)
    for what, blocks in (
        ("statistics", collection.checks.statistics(encoder.id)),
        ("sample features", collection.checks.features(encoder.id, most)),
    ):
        done = 0
        for count, found in blocks:
            findings += _faults(collection, encoder.identity, found)
            if what == "statistics":
                faults.update((fault.model_id, fault.reason) for fault in found)
            done += count
            if on_progress is not None:
                on_progress(f"{encoder.identity.name}: {what}", done, max(total, done))
    lost = collection.checks.without_change(encoder.id)
    if lost:
        repair, mend = collection.commands.repair(), Mend("changes", encoder.id)
        what = f"{len(lost)} models have statistics of a change that is not in the sequence"
        findings.append(Finding(DAMAGE, f"{encoder.identity.name}: {what}", repair, mend))
    return findings


def _faults(collection: Collection, identity: EncoderIdentity, faults: list[Fault]) -> Iterator[Finding]:
    models = collection.catalog.models_by_id([fault.model_id for fault in faults])
    for fault in faults:
        model = models.get(fault.model_id)
        name = f"id {fault.model_id}" if model is None else model.name
        path = None if model is None else row_to_origin(model, identity.name).source.get("path")
        again = collection.commands.ingest_again(name, identity.name, path if isinstance(path, str) else None)
        yield Finding(DAMAGE, f"{name} ({identity.name}): {fault.reason}", again)


def _spaces(collection: Collection, encoder: EncoderRef) -> tuple[list[Space], list[Finding]]:
    """The spaces that have an index, and what is wrong with the transforms behind them."""
    spaces, findings, known = [IDENTITY], [], collection.transforms
    for transform in known.transforms.all():
        if transform.encoder_id != encoder.id:
            continue
        try:
            arrays = known.transforms.arrays(transform)
        except CorruptData as error:
            whitening = transform.method == WHITENED
            repair = collection.commands.repair() if whitening else error.hint or ""
            mend = Mend("whitening", encoder.id) if whitening else None
            findings.append(Finding(DAMAGE, error.message, repair, mend))
            continue
        if not transform.active or transform not in known.indexed(encoder.id):
            continue
        spaces.append(arrays_to_space(transform, arrays))
        if transform.method == WHITENED:  # densities need it, too: its spaces may never have been searched by
            both = [
                spaces.pop(),
                whitening_to_linear(transform, Whitening.from_arrays(arrays), collection.settings.shrinkage),
            ]
            spaces += [space for space in both if collection.views.has(encoder, space.key)]
    return spaces, findings


def _neighbours(collection: Collection, encoder: EncoderRef, faults: dict[int, str]) -> list[Finding]:
    findings = []
    pending = [model_id for model_id in collection.neighbours.pending(encoder.id) if model_id not in faults]
    if pending:
        what = f"{len(pending)} models have no current list of similar models"
        findings.append(Finding(STALE, what, collection.commands.build(), Mend("neighbours", encoder.id)))
    wrong = collection.checks.wrong_neighbours(encoder.id)
    if wrong:
        named = ", ".join(collection.catalog.names(wrong[:NAMED]).values()) + (" …" if len(wrong) > NAMED else "")
        what = f"{encoder.identity.name}: {len(wrong)} lists of similar models contradict others: {named}"
        findings.append(Finding(DAMAGE, what, collection.commands.repair(), Mend("lists", encoder.id)))
    return findings


def _thumbnails(collection: Collection) -> list[Finding]:
    """Previews have no checksum: one that cannot be decoded is damaged."""
    findings = []
    for model_id, position, thumbnail in collection.checks.thumbnails():
        try:
            bytes_to_image(thumbnail.data, max_pixels=collection.settings.max_pixels)
            if media_type(thumbnail.data) is None:
                raise InvalidImage("it is none of WebP, PNG and JPEG, and not shown")
        except InvalidImage as error:
            name = collection.catalog.names([model_id]).get(model_id, f"id {model_id}")
            again = "ingest this model again; it is searched as before"
            findings.append(Finding(DAMAGE, f"{name}: preview {position} cannot be used: {error.message}", again))
    return findings


def _checkpoints(collection: Collection) -> list[Finding]:
    findings = []
    for name, encoder_id, state in collection.checks.checkpoints():
        try:
            bytes_to_state(state)
        except CorruptData as error:
            what = f"{name}: {error.message}; its ingest begins anew"
            findings.append(Finding(NOTE, what, collection.commands.repair(), Mend("checkpoint", encoder_id, name)))
    return findings
