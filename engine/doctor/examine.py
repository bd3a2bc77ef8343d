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
from engine.records import EncoderIdentity
from engine.rerank import StatisticsCache
from engine.samples import bytes_to_image
from engine.samples.media import media_type
from engine.scores import Whitening
from engine.search import IndexViews, TransformCache
from engine.search.spaces import IDENTITY, WHITENED, Space, arrays_to_space, whitening_to_linear
from engine.storage import Catalog, Database, Neighbours
from engine.storage.checks import Checks, Fault
from engine.storage.details import checked_name
from engine.storage.sources import row_to_origin

OnProgress = Callable[[str, int, int], None]
NAMED = 20
"""Models that are named one by one where a list of many is wrong."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of an open collection that a doctor looks at."""

    database: Database
    catalog: Catalog
    views: IndexViews
    evidence: StatisticsCache
    neighbours: Neighbours
    maps: TransformCache
    settings: Settings

    @property
    def checks(self) -> Checks:
        """The questions about the database."""
        return Checks(self.database)

    @property
    def commands(self) -> Commands:
        """What can be pasted."""
        return Commands(self.database.shown_url)


def examine(parts: Parts, on_progress: OnProgress | None = None) -> list[Finding]:
    """Every finding; an empty list means that all is well.

    Blobs are read in blocks: memory does not grow with the collection but by a few bytes a model. Writers may go on
    meanwhile. ``on_progress`` is called with (stage, done, total).
    """
    findings = _guarded(parts, "the database", partial(_database, parts))
    for encoder_id, identity in parts.catalog.encoders().items():
        faults: dict[int, str] = {}
        findings += _guarded(
            parts, identity.name, partial(_statistics, parts, encoder_id, identity, faults, on_progress)
        )  # fmt: skip
        spaces, transforms = _spaces(parts, encoder_id, identity)
        findings += transforms
        for space in spaces:
            findings += snapshot_findings(
                parts.checks,
                parts.catalog,
                parts.views,
                encoder_id,
                identity,
                space,
                faults,
                parts.commands,
                on_progress,
            )
        findings += record_findings(parts.catalog, parts.views, encoder_id, identity, parts.commands, on_progress)
        findings += shown_findings(parts.views, encoder_id, identity, parts.commands)
        findings += _guarded(parts, identity.name, partial(_neighbours, parts, encoder_id, identity, faults))
    findings += _guarded(parts, "the previews", partial(_thumbnails, parts))
    findings += _guarded(parts, "the checkpoints", partial(_checkpoints, parts))
    return findings


def _guarded(parts: Parts, what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """A part of the database that cannot be read at all is a finding, and no reason not to look at the others."""
    try:
        return look()
    except EngineError as error:
        repair = error.hint or f"restore the database from a backup, then: {parts.commands.repair()}"
        return [Finding(DAMAGE, f"{what} cannot be read: {error.message}", repair)]


def _database(parts: Parts) -> list[Finding]:
    checks, repair = parts.checks, parts.commands.repair()
    kind = "SQLite" if parts.database.is_sqlite else "Postgres"
    restore = f"restore the database from a backup (engine backup makes one), then: {repair}"
    findings = [Finding(DAMAGE, f"{kind}: {line}", restore) for line in checks.file_faults()]
    findings += [
        Finding(DAMAGE, f"{count} rows of {table} refer to rows that are not there", repair, Mend("orphans", 0, table))
        for table, count in checks.orphans().items()
    ]
    return findings + list(_json(parts)) + list(_names(parts))


def _json(parts: Parts) -> Iterator[Finding]:
    database = f"--database {parts.commands.url}"
    for table, column, row_id in parts.checks.json_faults():
        said = f"{column} of {table} cannot be read"
        if table in ("models", "statistics"):
            name = parts.catalog.names([row_id]).get(row_id, f"id {row_id}")
            steps = (
                f"describe it again (engine update {name} … {database}), or ingest it again; it is searched as before"
            )
            yield Finding(DAMAGE, f"{name}: {said}", steps)
        else:
            yield Finding(DAMAGE, f"{table[:-1]} {row_id}: {said}", f"make it again, or restore a backup ({database})")


def _names(parts: Parts) -> Iterator[Finding]:
    for model_id, name in parts.checks.names():
        try:
            checked_name(name)
        except EngineError as error:
            yield Finding(
                DAMAGE,
                f"model id {model_id}: {error.message}",
                "restore the database from a backup, or rename the model",
            )


def _statistics(
    parts: Parts, encoder_id: int, identity: EncoderIdentity, faults: dict[int, str], on_progress: OnProgress | None
) -> list[Finding]:
    """Moments and sample features; ``faults`` takes the models whose moments are damaged."""
    findings: list[Finding] = []
    total = parts.catalog.statistics_count(encoder_id)
    most = max(parts.settings.kept_features, 1)
    for what, blocks in (
        ("statistics", parts.checks.statistics(encoder_id)),
        ("sample features", parts.checks.features(encoder_id, most)),
    ):
        done = 0
        for count, found in blocks:
            findings += _faults(parts, identity, found)
            if what == "statistics":
                faults.update((fault.model_id, fault.reason) for fault in found)
            done += count
            if on_progress is not None:
                on_progress(f"{identity.name}: {what}", done, max(total, done))
    lost = parts.checks.without_change(encoder_id)
    if lost:
        repair, mend = parts.commands.repair(), Mend("changes", encoder_id)
        what = f"{len(lost)} models have statistics of a change that is not in the sequence"
        findings.append(Finding(DAMAGE, f"{identity.name}: {what}", repair, mend))
    return findings


def _faults(parts: Parts, identity: EncoderIdentity, faults: list[Fault]) -> Iterator[Finding]:
    models = parts.catalog.models_by_id([fault.model_id for fault in faults])
    for fault in faults:
        model = models.get(fault.model_id)
        name = f"id {fault.model_id}" if model is None else model.name
        path = None if model is None else row_to_origin(model, identity.name).source.get("path")
        again = parts.commands.ingest_again(name, identity.name, path if isinstance(path, str) else None)
        yield Finding(DAMAGE, f"{name} ({identity.name}): {fault.reason}", again)


def _spaces(parts: Parts, encoder_id: int, identity: EncoderIdentity) -> tuple[list[Space], list[Finding]]:
    """The spaces that have an index, and what is wrong with the transforms behind them."""
    spaces, findings, maps = [IDENTITY], [], parts.maps
    for transform in maps.transforms.all():
        if transform.encoder_id != encoder_id:
            continue
        try:
            arrays = maps.transforms.arrays(transform)
        except CorruptData as error:
            whitening = transform.method == WHITENED
            repair = parts.commands.repair() if whitening else error.hint or ""
            mend = Mend("whitening", encoder_id) if whitening else None
            findings.append(Finding(DAMAGE, error.message, repair, mend))
            continue
        if not transform.active or transform not in maps.indexed(encoder_id):
            continue
        spaces.append(arrays_to_space(transform, arrays))
        if transform.method == WHITENED:  # densities need it, too: its spaces may never have been searched by
            both = [
                spaces.pop(),
                whitening_to_linear(transform, Whitening.from_arrays(arrays), parts.settings.shrinkage),
            ]
            spaces += [space for space in both if parts.views.has(encoder_id, identity, space.key)]
    return spaces, findings


def _neighbours(parts: Parts, encoder_id: int, identity: EncoderIdentity, faults: dict[int, str]) -> list[Finding]:
    findings = []
    pending = [model_id for model_id in parts.neighbours.pending(encoder_id) if model_id not in faults]
    if pending:
        what = f"{len(pending)} models have no current list of similar models"
        findings.append(Finding(STALE, what, parts.commands.build(), Mend("neighbours", encoder_id)))
    wrong = parts.checks.wrong_neighbours(encoder_id)
    if wrong:
        named = ", ".join(parts.catalog.names(wrong[:NAMED]).values()) + (" …" if len(wrong) > NAMED else "")
        what = f"{identity.name}: {len(wrong)} lists of similar models contradict others: {named}"
        findings.append(Finding(DAMAGE, what, parts.commands.repair(), Mend("lists", encoder_id)))
    return findings


def _thumbnails(parts: Parts) -> list[Finding]:
    """Previews have no checksum: one that cannot be decoded is damaged."""
    findings = []
    for model_id, position, thumbnail in parts.checks.thumbnails():
        try:
            bytes_to_image(thumbnail.data, max_pixels=parts.settings.max_pixels)
            if media_type(thumbnail.data) is None:
                raise InvalidImage("it is none of WebP, PNG and JPEG, and not shown")
        except InvalidImage as error:
            name = parts.catalog.names([model_id]).get(model_id, f"id {model_id}")
            again = "ingest this model again; it is searched as before"
            findings.append(Finding(DAMAGE, f"{name}: preview {position} cannot be used: {error.message}", again))
    return findings


def _checkpoints(parts: Parts) -> list[Finding]:
    findings = []
    for name, encoder_id, state in parts.checks.checkpoints():
        try:
            bytes_to_state(state)
        except CorruptData as error:
            what = f"{name}: {error.message}; its ingest begins anew"
            findings.append(Finding(NOTE, what, parts.commands.repair(), Mend("checkpoint", encoder_id, name)))
    return findings
