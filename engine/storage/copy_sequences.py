"""Where a database's ids stand, so that a copy gives none of them a second time."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Integer, func, select, text

from engine.storage.tables import Base


def numbered() -> dict[str, str]:
    """Tables whose rows are numbered by the database, and the column that holds the number."""
    found = {}
    for table in Base.metadata.sorted_tables:
        keys = list(table.primary_key.columns)
        if len(keys) == 1 and isinstance(keys[0].type, Integer):
            found[table.name] = keys[0].name
    return found


def last_ids(connection: Connection, *, sqlite: bool) -> dict[str, int]:
    """The last number given in each of those tables, whether its row is still there or not."""
    found = {}
    for name, column in numbered().items():
        highest = connection.execute(select(func.max(Base.metadata.tables[name].c[column]))).scalar() or 0
        found[name] = max(highest, _given(connection, name, column, sqlite=sqlite))
    return found


def set_last_ids(connection: Connection, last: Mapping[str, int], *, sqlite: bool) -> None:
    """Have numbering go on after those. SQLite has a place for it only for tables whose ids must never come again."""
    for name, column in numbered().items():
        given = max(last[name], _given(connection, name, column, sqlite=sqlite))
        if not given:
            continue
        if not sqlite:
            values = {"table": name, "column": column, "given": given}
            connection.execute(text("SELECT setval(pg_get_serial_sequence(:table, :column), :given)"), values)
        elif Base.metadata.tables[name].dialect_options["sqlite"]["autoincrement"]:
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": name})
            connection.execute(
                text("INSERT INTO sqlite_sequence VALUES (:table, :given)"), {"table": name, "given": given}
            )


def _given(connection: Connection, name: str, column: str, *, sqlite: bool) -> int:
    if sqlite:
        query = text("SELECT max(seq) FROM sqlite_sequence WHERE name = :table")
        return int(connection.execute(query, {"table": name}).scalar() or 0)
    named = text("SELECT pg_get_serial_sequence(:table, :column)")
    sequence = connection.execute(named, {"table": name, "column": column}).scalar_one()
    last, called = connection.execute(text(f"SELECT last_value, is_called FROM {sequence}")).one()
    return int(last) if called else 0
