"""Tables and lists of facts that fit the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap

import click

from engine.cli.output import printable
from engine.texts import JOINERS

NARROWEST = 40
GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column: ``right`` aligns numbers; of the columns that can shrink, the widest above ``least`` shrink first.

    ``least`` None means that the column keeps its width. ``keep`` makes a column shrink only when no other can.
    """

    title: str
    right: bool = False
    least: int | None = None
    keep: bool = False


def terminal_width() -> int:
    """Columns of the terminal; 80 where stdout is not one (``COLUMNS`` overrides both)."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return 80
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def cell_width(text: str) -> int:
    """Terminal cells that a text takes: 2 for wide characters, 0 for combining ones."""
    shown = (c for c in text if not unicodedata.combining(c) and c not in JOINERS)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown)


def cut(text: str, width: int) -> str:
    """At most ``width`` cells; what is cut off leaves an ellipsis."""
    if cell_width(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += cell_width(character)
        if used > width - 1:
            break
        kept += character
    return kept.rstrip() + "…"


def rows_to_lines(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> list[str]:
    """A heading and one line a row, none wider than ``width`` while the columns that can shrink allow it."""
    longest = 4 * width  # no more of a cell can be seen, and a description may have 100 000 characters
    cells = [[printable(cell[:longest]) for cell in row] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(cell_width, column)) for column in zip(titles, *cells, strict=True)]
    for keep in (False, True):
        _shrink(columns, widths, width, keep)
    return list(starmap(_line, ((columns, widths, row) for row in (titles, *cells))))


def show_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout."""
    heading, *lines = rows_to_lines(columns, rows, terminal_width())
    click.echo(click.style(heading, bold=True))
    for line in lines:
        click.echo(line)


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print ``name  value`` pairs on stdout, long values wrapped under themselves; empty ones are left out."""
    pairs = [(name, printable(value)) for name, value in facts if value]
    indent = max((len(name) for name, _ in pairs), default=0) + len(GAP)
    for name, value in pairs:
        lines = textwrap.wrap(value, max(20, terminal_width() - indent), break_on_hyphens=False) or [""]
        click.echo(click.style(name.ljust(indent), bold=True) + lines[0])
        for line in lines[1:]:
            click.echo(" " * indent + line)


def _shrink(columns: Sequence[Column], widths: list[int], width: int, keep: bool) -> None:
    """Take cells from the widest column that can give one, until the table fits or none can."""
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        able = [
            i
            for i, column in enumerate(columns)
            if column.least is not None and column.keep == keep and widths[i] > column.least
        ]
        if not able:
            return
        widths[max(able, key=lambda i: widths[i])] -= 1


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> str:
    parts = []
    for column, width, text in zip(columns, widths, row, strict=True):
        shown = cut(text, width)
        fill = " " * (width - cell_width(shown))
        parts.append(fill + shown if column.right else shown + fill)
    return GAP.join(parts).rstrip()
