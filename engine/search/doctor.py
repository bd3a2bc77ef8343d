"""Comparing what is stored with what is derived: database, index snapshot, lists of similar models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import text

from engine.errors import CorruptData
from engine.index import snapshot as snapshots
from engine.records import EncoderIdentity
from engine.scores import unit
from engine.search.views import IndexViews
from engine.storage import Catalog, Database, Neighbours

BLOCK = 256  # models whose statistics are read at a time


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    ``severity`` is ``damage`` (stored bytes are wrong), ``stale`` (something derived is behind and will be
    brought up by itself) or ``note``; ``repair`` is the command or step that mends it.
    """

    severity: str
    what: str
    repair: str


def examine(database: Database, catalog: Catalog, views: IndexViews, neighbours: Neighbours) -> list[Finding]:
    """Every finding; an empty list means that all is well."""
    findings = _database(database)
    for encoder_id, identity in catalog.encoders().items():
        findings += _statistics(catalog, encoder_id, identity)
        findings += _snapshot(catalog, views, encoder_id, identity)
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


def _snapshot(catalog: Catalog, views: IndexViews, encoder_id: int, identity: EncoderIdentity) -> list[Finding]:
    repair = "engine index build"
    folder = views.folder(identity)
    try:
        manifest = snapshots.read_manifest(folder)
        if manifest is None:
            return [Finding("stale", f"{identity.name}: there is no index snapshot in {folder}", repair)]
        index = snapshots.load(folder, manifest)
    except CorruptData as error:
        return [Finding("damage", error.message, repair)]
    if manifest.change > catalog.last_change():
        return [Finding("damage", f"{identity.name}: the index snapshot is newer than the database", repair)]
    behind = catalog.changes_behind(encoder_id, manifest.change)
    if behind:
        return [Finding("stale", f"{identity.name}: the index snapshot is {behind} changes behind", repair)]
    ids, means, _, damaged, _ = catalog.means_since(encoder_id, 0)
    findings: list[Finding] = []
    surplus = np.setdiff1d(index.ids, ids)
    findings += [
        Finding("damage", f"{identity.name}: index and database disagree about model id {model_id}", repair)
        for model_id in (*surplus.tolist(), *np.setdiff1d(ids, index.ids).tolist())
        if model_id not in damaged
    ]
    there = np.isin(ids, index.ids)
    wrong = ids[there][np.any(index.vectors(ids[there]) != unit(means[there]), axis=1)]
    findings += [
        Finding("damage", f"{identity.name}: the index has another mean for model id {model_id}", repair)
        for model_id in wrong.tolist()
    ]
    return findings
