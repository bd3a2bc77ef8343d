"""Rows written a column at a time are the rows that SQLAlchemy would have written."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from sqlalchemy import Table, delete, func, insert, select

from engine.errors import EngineError, StorageError
from engine.storage import Database
from engine.storage.insert_rows import insert_rows
from engine.storage.tables import EncoderRow, ModelRow, StatisticsRow

AT = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=timezone.utc)
NAMES = ["plain", "with 'quotes' % and : ?", "Zoë 雪 \N{GHOST}"]
SOURCES: list[dict[str, Any]] = [{}, {"type": "moments", "deep": {"list": [1, 2.5, None, True]}}, {"text": "é'%s ?"}]


def table_of(row: Any) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


MODELS, ENCODERS, STATISTICS = table_of(ModelRow), table_of(EncoderRow), table_of(StatisticsRow)
SAME: dict[str, Any] = {
    "kind": "unknown", "links": {"home": "x"}, "metadata": {}, "created_at": AT, "updated_at": AT, "author": None
}  # fmt: skip


def written(database: Database, table: Table, leave: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    columns = [column for column in table.columns if column.name not in leave]
    with database.read() as session:
        return [tuple(row) for row in session.execute(select(*columns).order_by(*table.primary_key.columns))]


def test_rows_are_those_that_sqlalchemy_writes(database: Database) -> None:
    with database.write() as session:
        insert_rows(session.connection(), MODELS, {"source": SOURCES, "name": NAMES}, SAME)
    ours = written(database, MODELS, leave=("id",))
    with database.write() as session:
        session.execute(delete(MODELS))
        rows = [{"name": name, "source": source, **SAME} for name, source in zip(NAMES, SOURCES, strict=True)]
        session.connection().execute(insert(MODELS), rows)
    assert ours == written(database, MODELS, leave=("id",))
    assert len(ours) == len(NAMES)


def test_blobs_nothing_and_large_numbers(database: Database) -> None:
    with database.write() as session:
        connection = session.connection()
        insert_rows(connection, MODELS, {"name": NAMES, "source": SOURCES, "id": [1, 2, 2**40]}, SAME)
        insert_rows(
            connection,
            ENCODERS,
            {"id": [7]},
            {"name": "e", "fingerprint": "f", "dimension": 2, "logit_scale": 0.1, "modalities": ["image"],
             "created_at": AT},
        )  # fmt: skip
        insert_rows(
            connection,
            STATISTICS,
            {"model_id": [1, 2, 2**40], "mean": [b"", b"\0\xff", bytes(70_000)], "covariance": [None, b"\0", None],
             "epsilon": [1e-4, 0.1 + 0.2, 5e-324], "change": [1, 2**33, 3]},
            {"encoder_id": 7, "samples": 3, "mean_checksum": "a", "checksum": "b", "source_digest": "c",
             "quarantined": 0, "quarantine": [], "updated_at": AT, "neighbours_change": None},
        )  # fmt: skip
    rows = written(database, STATISTICS)
    found = [dict(zip(STATISTICS.columns.keys(), row, strict=True)) for row in rows]
    assert [row["model_id"] for row in found] == [1, 2, 2**40]
    assert [bytes(row["mean"]) for row in found] == [b"", b"\0\xff", bytes(70_000)]
    assert [row["covariance"] and bytes(row["covariance"]) for row in found] == [None, b"\0", None]
    assert [row["epsilon"] for row in found] == [1e-4, 0.1 + 0.2, 5e-324]
    assert [row["change"] for row in found] == [1, 2**33, 3]
    assert all(row["quarantine"] == [] and row["neighbours_change"] is None for row in found)


def test_no_rows(database: Database) -> None:
    with database.write() as session:
        insert_rows(session.connection(), MODELS, {"name": [], "source": []}, SAME)
    assert written(database, MODELS) == []


def test_columns_of_different_lengths_are_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="shorter"), database.write() as session:
        insert_rows(session.connection(), MODELS, {"name": NAMES, "source": SOURCES[:2]}, SAME)
    assert written(database, MODELS) == []


def test_one_bad_row_takes_the_others_with_it(database: Database) -> None:
    with pytest.raises(EngineError) as caught, database.write() as session:
        insert_rows(session.connection(), MODELS, {"name": [*NAMES, NAMES[0]], "source": [*SOURCES, {}]}, SAME)
    assert isinstance(caught.value, StorageError)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(MODELS)) == 0
