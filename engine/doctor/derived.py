"""What is derived from the database and lies in files: index snapshots, records of exact rules, the agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.doctor.findings import DAMAGE, STALE, Commands, Finding, Mend
from engine.errors import CorruptData
from engine.index import FirstMomentIndex
from engine.index import snapshot as snapshots
from engine.records import EncoderRef
from engine.rerank.record_file import DIRECTORY, Directory, damaged_records, read_any_directory
from engine.search import IndexViews
from engine.search.agreement import read_agreement
from engine.search.map import MAP, read_map
from engine.search.spaces import IDENTITY, Space
from engine.search.status import AGREEMENT
from engine.search.views import models_to_vectors
from engine.storage import Catalog
from engine.storage.checks import Checks

SAME = 1e-5  # of a vector's largest number: matrix products of other sizes round otherwise, to some 1e-6
PUBLISHED_MEANWHILE = 5
"""How often records are looked at again because another process has published meanwhile."""
OnProgress = Callable[[str, int, int], None]
Int64 = NDArray[np.int64]


def snapshot_findings(
    checks: Checks,
    catalog: Catalog,
    views: IndexViews,
    encoder: EncoderRef,
    space: Space,
    faults: Mapping[int, str],
    commands: Commands,
    on_progress: OnProgress | None = None,
) -> list[Finding]:
    """A snapshot's files by their checksums, and its models by their ids and vectors.

    ``faults`` are the models whose statistics are damaged: a snapshot may have them or not.
    """
    repair, mend = commands.repair(), Mend("index", encoder.id, space.key)
    folder = views.folder(encoder.identity, space.key)
    name = encoder.identity.name if space is IDENTITY else f"{encoder.identity.name}, {space.key}"
    try:
        manifest = snapshots.read_manifest(folder)
        if manifest is None:
            return [Finding(STALE, f"{name}: there is no index snapshot in {folder}", commands.build(), mend)]
        index = snapshots.load(folder, manifest, thorough=True)
    except CorruptData as error:
        return [Finding(DAMAGE, error.message, repair, mend)]
    if (manifest.collection, manifest.fingerprint) != (views.collection, encoder.identity.fingerprint):
        return [Finding(STALE, f"{name}: the index snapshot belongs to another collection", commands.build(), mend)]
    if manifest.change > catalog.last_change():
        return [Finding(DAMAGE, f"{name}: the index snapshot is newer than the database", repair, mend)]
    if manifest.version != space.version:
        return [Finding(STALE, f"{name}: the index snapshot is of another transform", commands.build(), mend)]
    findings = []
    behind = catalog.changes_behind(encoder.id, manifest.change)
    if behind:
        what = f"{name}: the index snapshot is {behind} changes behind"
        findings.append(Finding(STALE, what, commands.build(), mend))
    surplus, missing, other = _compared(checks, catalog, encoder.id, space, index, manifest.change, name, on_progress)
    disagree = [model_id for model_id in (*surplus, *missing) if model_id not in faults]
    for ids, what in ((disagree, "index and database disagree about"), (other, "the index has another vector for")):
        findings += [Finding(DAMAGE, f"{name}: {what} {_called(catalog, model_id)}", repair, mend) for model_id in ids]
    return findings


def record_findings(
    catalog: Catalog,
    views: IndexViews,
    encoder: EncoderRef,
    commands: Commands,
    on_progress: OnProgress | None = None,
) -> list[Finding]:
    """Files of factors and samples: the directory, the rotation, and every record by its checksum."""
    findings: list[Finding] = []
    folders = sorted(views.root.glob(f"{views.folder(encoder.identity).name}..*/{DIRECTORY}"))
    for done, path in enumerate(folders, 1):
        mend, stray = (Mend(kind, encoder.id, path.parent.name) for kind in ("records", "stray"))
        try:
            directory, bad = _examined(path.parent)
        except CorruptData as error:
            findings.append(Finding(DAMAGE, error.message, commands.repair(), stray))
            continue
        findings += [
            Finding(
                DAMAGE,
                f"{encoder.identity.name}: the record of {_called(catalog, model_id)} in {path.parent} is damaged",
                commands.repair(), mend,
            )
            for model_id in bad
        ]  # fmt: skip
        newest = 0 if directory is None or not len(directory.entries) else int(directory.entries["change"].max())
        ours = directory is not None and directory.key.collection == views.collection
        if ours and newest > catalog.last_change():
            what = f"{encoder.identity.name}: records in {path.parent} are newer than the database"
            findings.append(Finding(DAMAGE, what, commands.repair(), stray))
        if on_progress is not None:
            on_progress(f"{encoder.identity.name}: records", done, len(folders))
    return findings


def _examined(root: Path) -> tuple[Directory | None, list[int]]:
    """The directory, and whose records are damaged.

    Should another process publish meanwhile, segments of the directory that was read may go: then it is read again.
    """
    directory = read_any_directory(root)
    for _ in range(PUBLISHED_MEANWHILE):
        bad = [] if directory is None else list(damaged_records(root, directory))
        again = read_any_directory(root) if bad else directory
        if directory is None or again is None or again.segments == directory.segments:
            break
        directory = again
    return directory, bad


def shown_findings(views: IndexViews, encoder: EncoderRef, commands: Commands) -> list[Finding]:
    """What is only shown: the measured agreement, and the map of the collection."""
    findings = []
    for kind, name, read in (("agreement", AGREEMENT, read_agreement), ("map", MAP, read_map)):
        try:
            read(views.beside(encoder.identity, name))
        except CorruptData as error:
            findings.append(Finding(DAMAGE, error.message, commands.repair(), Mend(kind, encoder.id)))
    return findings


def _compared(
    checks: Checks,
    catalog: Catalog,
    encoder_id: int,
    space: Space,
    index: FirstMomentIndex,
    change: int,
    name: str,
    on_progress: OnProgress | None,
) -> tuple[list[int], list[int], list[int]]:
    """Ids that only the index has, that only the database has, and those with other vectors, as of ``change``."""
    seen: list[Int64] = []
    missing: list[int] = []
    other: list[int] = []
    total = catalog.statistics_count(encoder_id)
    for block in checks.means(encoder_id):
        seen.append(block.ids)
        old = block.changes <= change
        ids, means = block.ids[old], block.means[old]
        expected = models_to_vectors(catalog, encoder_id, space, ids, means)
        usable = np.isfinite(expected).all(axis=1)
        ids, expected = ids[usable], expected[usable]
        found = index.vectors(ids)
        there = ~np.isnan(found).any(axis=1)
        missing += ids[~there].tolist()
        allowed = SAME * np.abs(expected).max(axis=1, keepdims=True, initial=0.0)
        wrong = there & np.any(np.abs(found - expected) > allowed, axis=1)
        other += ids[wrong].tolist()
        if on_progress is not None:
            done = sum(map(len, seen))
            on_progress(f"{name}: index", done, max(total, done))
    known = np.concatenate(seen) if seen else np.empty(0, np.int64)
    surplus = np.setdiff1d(np.setdiff1d(index.ids, known), checks.removed_since(change))
    return surplus.tolist(), missing, other


def _called(catalog: Catalog, model_id: int) -> str:
    name = catalog.names([model_id]).get(model_id)
    return f"model id {model_id}" if name is None else f"{name} (model id {model_id})"
