"""Many models' ready-made moments in one transaction, a few statements for a thousand of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from engine.records import Origin
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.insert_rows import insert_rows
from engine.storage.model_rows import CHUNK, IDS, LAST_CHANGE, chunks, now, remove_unused_tags, row_of
from engine.storage.neighbours import forget_neighbours, remove_row
from engine.storage.sources import IN_MEMORY, origin_to_place, other_source, row_to_origin
from engine.storage.tables import (
    ChangeRow,
    CheckpointRow,
    EncoderRow,
    ModelRow,
    ModelTagRow,
    SampleFeaturesRow,
    StatisticsRow,
    TagRow,
    row_to_table,
)

KIND = "unknown"
"""Of a model of which nothing but its moments was given."""

# Made once, of tables: for one model, composing them took longer than writing it.
_MODELS, _STATISTICS, _CHANGES, _CHECKPOINTS = map(row_to_table, (ModelRow, StatisticsRow, ChangeRow, CheckpointRow))
_KNOWN = select(_MODELS.c.name, _MODELS.c.id).where(_MODELS.c.name.in_(bindparam("names", expanding=True)))
_DIGESTS = select(_STATISTICS.c.model_id, _STATISTICS.c.source_digest).where(
    _STATISTICS.c.encoder_id == bindparam("encoder_id"), _STATISTICS.c.model_id.in_(IDS)
)
_ORIGINS = select(ModelRow.name, ModelRow.source, ModelRow.generator).where(ModelRow.id.in_(IDS))
_LAST_MODEL = select(func.coalesce(func.max(_MODELS.c.id), 0))
_NEW_MODELS = select(_MODELS.c.name, _MODELS.c.id).where(_MODELS.c.id > bindparam("last"))
_NEW_CHANGES = select(_CHANGES.c.model_id, _CHANGES.c.seq).where(_CHANGES.c.seq > bindparam("last"))
_WAITING = select(_CHECKPOINTS.c.name).where(_CHECKPOINTS.c.encoder_id == bindparam("encoder_id"))


@dataclass(frozen=True, eq=False)
class Block:
    """Ready-made moments of ``n`` models, to be written in one transaction.

    Attributes:
        names: distinct and checked.
        means: ``(n, d)`` float32.
        covariances: ``(d, d)`` float32 each, without ε, or None.
        epsilons: ε of each.
        samples: how many features went into each.
        digests: what tells whether a model's moments are those that are there.
        tags: each model's; None leaves those that it has.
    """

    names: Sequence[str]
    means: NDArray[np.float32]
    covariances: Sequence[NDArray[np.float32] | None]
    epsilons: Sequence[float]
    samples: Sequence[int]
    digests: Sequence[str]
    tags: Sequence[tuple[str, ...] | None]


@dataclass(frozen=True)
class BulkCounts:
    """What became of the models."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: BulkCounts) -> BulkCounts:
        return BulkCounts(
            self.added + other.added, self.replaced + other.replaced, self.unchanged + other.unchanged
        )  # fmt: skip


def put_many(database: Database, encoder_id: int, block: Block, *, replace: bool = False) -> BulkCounts:
    """Write or replace the statistics of a block's models: all of them, or none.

    Models whose content is unchanged keep their statistics, and get the tags that were given. Models that have no
    statistics of the encoder yet keep theirs of others.

    Args:
        replace: models whose statistics came from a folder, a file or a generator are removed with everything of them
            and added anew.

    Raises:
        DuplicateName: there are such models, and ``replace`` is not given.
    """
    with database.write() as session:
        ids = _known(session, block.names)
        there = _digests(session, encoder_id, ids.values())
        changed = [i for i, name in enumerate(block.names) if there.get(ids.get(name, 0)) != block.digests[i]]
        replaced = [ids[block.names[i]] for i in changed if ids.get(block.names[i]) in there]
        others = _others(session, encoder_id, replaced)
        if others and not replace:
            raise other_source(*others[0], Origin({"type": "moments"}))
        for name, _ in others:
            replaced.remove(ids.pop(name))
            remove_row(session, row_of(session, name))
        session.flush()
        fresh = [i for i in changed if block.names[i] not in ids]
        added = _added(session, block, fresh)
        ids |= added
        _forget(session, encoder_id, replaced)
        _write(session, encoder_id, block, changed, [ids[block.names[i]] for i in changed])
        described = [(ids[name], tags) for name, tags in zip(block.names, block.tags, strict=True) if tags is not None]
        _tag(session, described, new=set(added.values()))
        _forget_checkpoints(session, encoder_id, [block.names[i] for i in changed])
        known = len(replaced) + len(others)
        return BulkCounts(len(changed) - known, known, len(block.names) - len(changed))


def _pieces(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))


def _known(session: Session, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for piece in _pieces(names):
        found.update(dict(session.execute(_KNOWN, {"names": piece}).all()))
    return found


def _digests(session: Session, encoder_id: int, ids: Iterable[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for block in chunks(ids):
        found.update(dict(session.execute(_DIGESTS, {"encoder_id": encoder_id, "ids": block}).all()))
    return found


def _others(session: Session, encoder_id: int, ids: Sequence[int]) -> list[tuple[str, Origin]]:
    """Names and origins of the models whose statistics under an encoder came from a folder, a file or a generator."""
    if not ids:
        return []
    encoder = session.get_one(EncoderRow, encoder_id).name
    found = []
    for block in chunks(ids):
        for row in session.execute(_ORIGINS, {"ids": block}):
            origin = row_to_origin(row, encoder)
            if origin_to_place(origin) != IN_MEMORY:
                found.append((row.name, origin))
    return found


def _added(session: Session, block: Block, which: Sequence[int]) -> dict[str, int]:
    """Rows of models that were not there, by their number in the block; their ids by name."""
    if not which:
        return {}
    at, dimension = now(), block.means.shape[1]
    last = session.scalars(_LAST_MODEL).one()
    each: dict[str, Sequence[Any]] = {"name": [block.names[i] for i in which]}
    same: dict[str, Any] = {"kind": KIND, "links": {}, "metadata": {}, "created_at": at, "updated_at": at}
    counts = [block.samples[i] for i in which]
    sources = {count: {"type": "moments", "dimension": dimension, "samples": count} for count in set(counts)}
    if len(sources) == 1:
        same["source"] = sources[counts[0]]
    else:
        each["source"] = [sources[count] for count in counts]
    insert_rows(session.connection(), _MODELS, each, same)
    return dict(session.execute(_NEW_MODELS, {"last": last}).all())


def _forget(session: Session, encoder_id: int, ids: Sequence[int]) -> None:
    """What was made from the statistics that are replaced."""
    for model_id in ids:
        forget_neighbours(session, model_id, encoder_id)
    for block in chunks(ids):
        for table in (SampleFeaturesRow, StatisticsRow):
            session.execute(delete(table).where(table.encoder_id == encoder_id, table.model_id.in_(block)))
        session.execute(
            update(ModelRow)
            .where(ModelRow.id.in_(block))
            .values(updated_at=now())
            .execution_options(synchronize_session=False)
        )


def _forget_checkpoints(session: Session, encoder_id: int, names: Sequence[str]) -> None:
    """Interrupted ingests of models whose moments are here now."""
    waiting = session.scalars(_WAITING, {"encoder_id": encoder_id}).all()  # mostly none, where names are thousands
    for piece in _pieces(sorted(set(names).intersection(waiting))):
        session.execute(
            delete(CheckpointRow).where(CheckpointRow.name.in_(piece), CheckpointRow.encoder_id == encoder_id)
        )


def _write(session: Session, encoder_id: int, block: Block, which: Sequence[int], ids: Sequence[int]) -> None:
    """Statistics of models, by their numbers in the block, under their ids, and a change for each."""
    if not which:
        return
    at, connection = now(), session.connection()
    last = session.scalars(LAST_CHANGE).one()
    insert_rows(connection, _CHANGES, {"model_id": ids}, {"encoder_id": encoder_id, "op": "put", "at": at})
    change = dict(session.execute(_NEW_CHANGES, {"last": last}).all())
    means = [blobs.mean_to_blob(block.means[i]) for i in which]
    covariances = [blobs.covariance_to_blob(block.covariances[i]) for i in which]
    sums = [blobs.checksum(mean) for mean in means]
    both = [
        alone if covariance is None else blobs.checksum(mean, covariance)
        for mean, covariance, alone in zip(means, covariances, sums, strict=True)
    ]
    insert_rows(
        connection,
        _STATISTICS,
        {
            "model_id": ids, "samples": [block.samples[i] for i in which], "mean": means, "covariance": covariances,
            "epsilon": [block.epsilons[i] for i in which], "mean_checksum": sums, "checksum": both,
            "source_digest": [block.digests[i] for i in which],
            "change": [change[model_id] for model_id in ids],
        },
        {"encoder_id": encoder_id, "quarantined": 0, "quarantine": [], "updated_at": at},
    )  # fmt: skip


def _tag(session: Session, described: Sequence[tuple[int, tuple[str, ...]]], *, new: set[int]) -> None:
    if not described:
        return
    for block in chunks(model_id for model_id, _ in described if model_id not in new):
        session.execute(delete(ModelTagRow).where(ModelTagRow.model_id.in_(block)))
    wanted = sorted({tag for _, tags in described for tag in tags})
    known: dict[str, int] = {}
    for piece in _pieces(wanted):
        known.update(
            (row.name, row.id) for row in session.execute(select(TagRow.name, TagRow.id).where(TagRow.name.in_(piece)))
        )
    missing = [{"name": tag} for tag in wanted if tag not in known]
    if missing:
        made = session.execute(insert(TagRow).returning(TagRow.id, TagRow.name), missing).all()
        known.update((row.name, row.id) for row in made)
    pairs = [{"model_id": model_id, "tag_id": known[tag]} for model_id, tags in described for tag in tags]
    if pairs:
        session.connection().execute(insert(row_to_table(ModelTagRow)), pairs)
    remove_unused_tags(session)
