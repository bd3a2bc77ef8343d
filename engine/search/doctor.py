"""Comparing what is stored with what is derived: database, transforms, index snapshots, lists of similar models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import text

from engine.errors import CorruptData
from engine.index import snapshot as snapshots
from engine.records import EncoderIdentity
from engine.scores import Whitening, unit
from engine.search.spaces import IDENTITY, WHITENED, Space, arrays_to_space, whitening_to_linear
from engine.search.transforms import Maps
from engine.search.views import IndexViews, models_to_vectors
from engine.storage import Catalog, Database, Neighbours

BLOCK = 256  # models whose statistics are read at a time
SAME = 1e-5  # of a vector's largest number: matrix products of other sizes round otherwise, to some 1e-6


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    ``severity`` is ``damage`` (stored bytes are wrong), ``stale`` (something derived is behind and will be
    brought up by itself) or ``note``; ``repair`` is the command or step that mends it.
    """

    severity: str
    what: str
    repair: str


def examine(
    database: Database, catalog: Catalog, views: IndexViews, neighbours: Neighbours, maps: Maps, shrinkage: float
) -> list[Finding]:
    """Every finding; an empty list means that all is well."""
    findings = _database(database)
    for encoder_id, identity in catalog.encoders().items():
        findings += _statistics(catalog, encoder_id, identity)
        findings += _snapshot(catalog, views, encoder_id, identity, IDENTITY)
        findings += _transforms(catalog, views, maps, encoder_id, identity, shrinkage)
        pending = len(neighbours.pending(encoder_id))
        if pending:
            findings.append(
                Finding("stale", f"{pending} models have no current list of similar models", "engine index build")
            )
    return findings


def _database(database: Database) -> list[Finding]:
    if not database.is_sqlite:
        return []
    with database.read() as session:
        said = session.execute(text("PRAGMA integrity_check")).scalars().all()
    return [Finding("damage", f"SQLite: {line}", "restore the file from a backup") for line in said if line != "ok"]


def _statistics(catalog: Catalog, encoder_id: int, identity: EncoderIdentity) -> list[Finding]:
    findings = []
    models = {model.id: model.name for model in catalog.models()}
    ids = sorted(models)
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        good, damaged = catalog.statistics(encoder_id, block)
        _, damaged_features = catalog.sample_features(encoder_id, block)
        for model_id, reason in (*damaged.items(), *damaged_features.items()):
            findings.append(
                Finding("damage", f"{models[model_id]} ({identity.name}): {reason}", "ingest this model again")
            )
        findings += [
            Finding("damage", f"{models[i]} ({identity.name}): the mean is zero or not finite", "ingest it again")
            for i, item in good.items()
            if not np.isfinite(unit(item.statistics.mean)).all()
        ]
    return findings


def _transforms(
    catalog: Catalog, views: IndexViews, maps: Maps, encoder_id: int, identity: EncoderIdentity, shrinkage: float
) -> list[Finding]:
    findings: list[Finding] = []
    for transform in maps.transforms.all():
        if transform.encoder_id != encoder_id:
            continue
        try:
            arrays = maps.transforms.arrays(transform)
        except CorruptData as error:
            repair = error.hint if transform.method != WHITENED else "engine index build"
            findings.append(Finding("damage", error.message, repair or ""))
            continue
        if not transform.active or transform not in maps.indexed(encoder_id):
            continue
        spaces = [arrays_to_space(transform, arrays)]
        if transform.method == WHITENED:  # densities need it, too: its spaces may never have been searched by
            spaces.append(whitening_to_linear(transform, Whitening.from_arrays(arrays), shrinkage))
            spaces = [space for space in spaces if views.has(encoder_id, identity, space.key)]
        for space in spaces:
            findings += _snapshot(catalog, views, encoder_id, identity, space)
    return findings


def _snapshot(
    catalog: Catalog, views: IndexViews, encoder_id: int, identity: EncoderIdentity, space: Space
) -> list[Finding]:
    repair = "engine index build"
    folder = views.folder(identity, space.key)
    name = identity.name if space is IDENTITY else f"{identity.name}, {space.key}"
    try:
        manifest = snapshots.read_manifest(folder)
        if manifest is None:
            return [Finding("stale", f"{name}: there is no index snapshot in {folder}", repair)]
        index = snapshots.load(folder, manifest, thorough=True)
    except CorruptData as error:
        return [Finding("damage", error.message, repair)]
    if manifest.change > catalog.last_change():
        return [Finding("damage", f"{name}: the index snapshot is newer than the database", repair)]
    if manifest.version != space.version:
        return [Finding("stale", f"{name}: the index snapshot is of another transform", repair)]
    behind = catalog.changes_behind(encoder_id, manifest.change)
    if behind:
        return [Finding("stale", f"{name}: the index snapshot is {behind} changes behind", repair)]
    ids, means, _, damaged, _ = catalog.means_since(encoder_id, 0)
    findings: list[Finding] = []
    surplus = np.setdiff1d(index.ids, ids)
    findings += [
        Finding("damage", f"{name}: index and database disagree about model id {model_id}", repair)
        for model_id in (*surplus.tolist(), *np.setdiff1d(ids, index.ids).tolist())
        if model_id not in damaged
    ]
    there = np.isin(ids, index.ids)
    expected = models_to_vectors(catalog, encoder_id, space, ids[there], means[there])
    allowed = SAME * np.abs(expected).max(axis=1, keepdims=True, initial=0.0)
    wrong = ids[there][np.any(np.abs(index.vectors(ids[there]) - expected) > allowed, axis=1)]
    findings += [
        Finding("damage", f"{name}: the index has another mean for model id {model_id}", repair)
        for model_id in wrong.tolist()
    ]
    return findings
