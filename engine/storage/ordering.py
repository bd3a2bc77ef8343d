"""Texts in the order of their bytes, on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles


class ByBytes(ColumnElement[str]):
    """A text column that is ordered and compared by its UTF-8 bytes: SQLite's own way; Postgres follows its locale."""

    inherit_cache = True

    def __init__(self, column: Any) -> None:
        self.column = column
        self.type = column.type


@compiles(ByBytes)
def _plain(element: ByBytes, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(ByBytes, "postgresql")
def _collated(element: ByBytes, compiler: Any, **options: Any) -> str:
    return f'({compiler.process(element.column, **options)} COLLATE "C")'
