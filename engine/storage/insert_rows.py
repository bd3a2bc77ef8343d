"""Rows by the thousand, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    statement = insert(table).inline().compile(dialect=dialect, column_keys=list(columns))
    order = statement.positiontup if statement.positional else list(columns)
    rows = list(zip(*(columns[name] for name in order or ()), strict=True))
    if not rows:
        return
    if statement.positional:
        connection.exec_driver_sql(str(statement), rows)
    else:
        connection.exec_driver_sql(str(statement), [dict(zip(columns, row, strict=True)) for row in rows])


def _taken(kind: TypeEngine[Any], values: Sequence[Any], dialect: Dialect) -> list[Any]:
    """Values as the driver takes them."""
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    return list(values) if convert is None else [convert(value) for value in values]
