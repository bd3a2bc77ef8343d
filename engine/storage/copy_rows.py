"""Rows of every table as they move between two databases: plain values that mean the same on either side.

JSON travels as its text, times as UTC. Pages are read by primary key and cut into blocks by their bytes; the digest of
a table is taken in one pass, in the order of primary keys compared by bytes, whatever the database's own collation is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    bindparam,
    func,
    insert,
    literal,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy import cast as sql_cast

from engine.errors import CorruptData
from engine.storage.tables import Base, CollectionRow

COPYING = "copying"
"""The fact by which a collection says that its copy is not finished."""
Row = dict[str, Any]
Key = tuple[Any, ...]


class _JsonText(TypeDecorator[str]):
    """A JSON column of Postgres, read and written as the text that it keeps."""

    impl = Text
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return sql_cast(type_coerce(bindparam, Text), JSON)

    def column_expression(self, column: Any) -> Any:
        return type_coerce(sql_cast(column, Text), self)


def plain_tables(*, sqlite: bool) -> list[Table]:
    """Every table of the schema, those that are referred to first, without what belongs to the object mapping."""
    kept, json_type = MetaData(), Text() if sqlite else _JsonText()
    return [
        Table(
            table.name,
            kept,
            *(
                Column(
                    column.name,
                    json_type if isinstance(column.type, JSON) else column.type,
                    primary_key=column.primary_key,
                    autoincrement=False,
                )
                for column in table.columns
            ),
        )
        for table in Base.metadata.sorted_tables
    ]


def json_columns(name: str) -> set[str]:
    """Which of a table's columns hold JSON."""
    return {column.name for column in Base.metadata.tables[name].columns if isinstance(column.type, JSON)}


def size_of(table: Table, connection: Connection) -> tuple[int, int]:
    """How many rows there are, and how large the largest is in bytes, about."""
    query = select(func.count(), func.coalesce(func.max(_bytes(table)), 0)).select_from(table).where(*moving(table))
    count, largest = connection.execute(query).one()
    return int(count), int(largest)


def moving(table: Table) -> list[ColumnElement[bool]]:
    """A condition on the rows that are copied: all but the mark of the copy itself."""
    return [table.c.key != COPYING] if table.name == CollectionRow.__tablename__ else []


def key_pages(connection: Connection, table: Table, page: int) -> Iterator[list[tuple[Key, int]]]:
    """Primary keys with the sizes of their rows in bytes, ``page`` at a time, in the database's own order."""
    keys = list(table.primary_key.columns)
    last: Key | None = None
    while True:
        query = select(*keys, _bytes(table)).where(*moving(table)).order_by(*keys).limit(page)
        if last is not None:
            after = [literal(value, column.type) for value, column in zip(last, keys, strict=True)]
            query = query.where(tuple_(*keys) > tuple_(*after) if len(keys) > 1 else keys[0] > after[0])
        rows = [(tuple(row[:-1]), int(row[-1])) for row in connection.execute(query)]
        if not rows:
            return
        yield rows
        last = rows[-1][0]


def by_bytes(keys: Sequence[tuple[Key, int]], most: int) -> Iterator[list[Key]]:
    """Keys in blocks whose rows have ``most`` bytes together, or of one row."""
    block: list[Key] = []
    filled = 0
    for key, size in keys:
        if block and filled + size > most:
            yield block
            block, filled = [], 0
        block.append(key)
        filled += size
    if block:
        yield block


def with_keys(table: Table, keys: Sequence[Key]) -> ColumnElement[bool]:
    """The rows of those primary keys."""
    columns = list(table.primary_key.columns)
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def present(connection: Connection, table: Table, keys: Sequence[Key]) -> set[Key]:
    """Those of some primary keys that are there."""
    query = select(*table.primary_key.columns).where(with_keys(table, keys))
    return {tuple(row) for row in connection.execute(query)}


def read_rows(connection: Connection, table: Table, keys: Sequence[Key]) -> dict[Key, Row]:
    """Rows by primary key.

    Raises:
        CorruptData: a value cannot be read.
    """
    names = [column.name for column in table.primary_key.columns]
    try:
        rows = [_plain(dict(row._mapping)) for row in connection.execute(select(table).where(with_keys(table, keys)))]
    except (ValueError, TypeError) as error:
        raise _unreadable(table, error) from error
    return {tuple(row[name] for name in names): row for row in rows}


def add_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows."""
    if rows:
        connection.execute(insert(table), list(rows))


def change_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Give rows that are there other values."""
    keys = list(table.primary_key.columns)
    statement = update(table).where(and_(*(column == bindparam(f"key_{column.name}") for column in keys)))
    for row in rows:
        connection.execute(statement, row | {f"key_{column.name}": row[column.name] for column in keys})


def row_to_bytes(table: Table, row: Row) -> bytes:
    """A row's values, encoded so that equal rows of either database are equal bytes."""
    return b"".join(_encoded(row, table.c.keys(), json_columns(table.name)))


def digest_rows(
    connection: Connection,
    table: Table,
    *,
    sqlite: bool,
    block_bytes: int,
    on_row: Callable[[Row], None] | None = None,
    on_count: Callable[[int], None] | None = None,
) -> tuple[int, str]:
    """How many rows a table has, and the SHA-256 of all of them.

    Raises:
        CorruptData: a value cannot be read.
    """
    _, largest = size_of(table, connection)
    at_once = min(max(block_bytes // max(largest, 1), 1), 1000)
    ordered = [
        column.collate("C") if not sqlite and isinstance(column.type, String) else column
        for column in table.primary_key.columns
    ]
    query = select(table).where(*moving(table)).order_by(*ordered)
    digest, count, names, in_json = hashlib.sha256(), 0, table.c.keys(), json_columns(table.name)
    try:
        with connection.execute(query, execution_options={"yield_per": at_once}) as result:
            for rows in result.partitions():
                for one in rows:
                    row = _plain(dict(one._mapping))
                    for piece in _encoded(row, names, in_json):
                        digest.update(piece)
                    if on_row is not None:
                        on_row(row)
                count += len(rows)
                if on_count is not None:
                    on_count(count)
    except (ValueError, TypeError) as error:
        raise _unreadable(table, error) from error
    return count, digest.hexdigest()


def is_unique(table: Table) -> bool:
    """Whether rows of a table can be in one another's way by more than their primary key."""
    return bool(unique_columns(table))


def unique_columns(table: Table) -> list[str]:
    """Names of columns by which rows can be in one another's way, besides the primary key."""
    real = Base.metadata.tables[table.name]
    named = {column.name for one in real.constraints if isinstance(one, UniqueConstraint) for column in one.columns}
    named |= {str(name) for index in real.indexes if index.unique for name in index.columns.keys()}  # noqa: SIM118
    return sorted(named - {column.name for column in real.primary_key.columns})


def _bytes(table: Table) -> ColumnElement[int]:
    """A row's size in bytes, about: what is not long counts 16 bytes a column."""
    total: ColumnElement[int] = literal(16 * len(table.columns))
    for column in table.columns:
        if isinstance(column.type, (Text, _JsonText)):
            total = total + func.coalesce(func.length(sql_cast(column, Text)), 0)
        elif isinstance(column.type, LargeBinary):
            total = total + func.coalesce(func.length(column), 0)
    return total


def _plain(row: Row) -> Row:
    for name, value in row.items():
        if isinstance(value, datetime):
            row[name] = (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        elif isinstance(value, memoryview):
            row[name] = bytes(value)
    return row


def _encoded(row: Row, names: Sequence[str], in_json: set[str]) -> Iterator[bytes]:
    for name in names:
        kind, data = _value_to_bytes(row[name], as_json=name in in_json)
        yield b"%s%d:" % (kind, len(data))
        yield data


def _value_to_bytes(value: Any, *, as_json: bool) -> tuple[bytes, bytes]:
    if value is None:
        return b"n", b""
    if isinstance(value, bytes):
        return b"b", value
    if isinstance(value, bool):
        return b"t", b"1" if value else b"0"
    if isinstance(value, datetime):
        return b"d", value.isoformat(timespec="microseconds").encode()
    if isinstance(value, str):
        return b"s", (_sorted_json(value) if as_json else value).encode("utf-8", "surrogateescape")
    return type(value).__name__[0].encode(), repr(value).encode()


def _sorted_json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # damaged, and compared as it is
        return text


def _unreadable(table: Table, error: Exception) -> CorruptData:
    return CorruptData(f"a value in the table {table.name} cannot be read: {error}", hint="engine doctor examines it")
