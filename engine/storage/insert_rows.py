"""Rows by the thousand, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.types import TypeEngine


def insert_rows(
    connection: Connection, table: Table, each: Mapping[str, Sequence[Any]], same: Mapping[str, Any]
) -> None:
    """Insert rows: ``each`` holds the columns that differ from row to row, ``same`` the values that all rows share.

    Handed a mapping a row, SQLAlchemy looks up, names and converts every value of every row, which costs several times
    SQLite's own work. Here a column is converted at a time, and what all rows share, once.

    Raises:
        ValueError: the columns have different lengths.
    """
    dialect = connection.dialect
    columns = {name: _taken(table.c[name].type, values, dialect) for name, values in each.items()}
    count = max(map(len, columns.values()), default=0)
    for name, value in same.items():
        columns[name] = _taken(table.c[name].type, [value], dialect) * count
    statement, order = _compiled(table, dialect, tuple(columns))
    rows = list(zip(*(columns[name] for name in order or columns), strict=True))
    if not rows:
        return
    if order:
        connection.exec_driver_sql(statement, rows)
    else:
        connection.exec_driver_sql(statement, [dict(zip(columns, row, strict=True)) for row in rows])


@lru_cache(maxsize=64)
def _compiled(table: Table, dialect: Dialect, names: tuple[str, ...]) -> tuple[str, list[str] | None]:
    """A statement, and the order of its values where these have no names: composing it takes longer than a row."""
    statement = insert(table).inline().compile(dialect=dialect, column_keys=list(names))
    return str(statement), statement.positiontup if statement.positional else None


def _taken(kind: TypeEngine[Any], values: Sequence[Any], dialect: Dialect) -> list[Any]:
    """Values as the driver takes them."""
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    return list(values) if convert is None else [convert(value) for value in values]
