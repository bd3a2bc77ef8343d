"""Tables that fit, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.output import plain, printable
from engine.cli.table import Column, cell_width, cut, rows_to_lines

COLUMNS = [
    Column("name", least=6, keep=True),
    Column("samples", right=True),
    Column("tags", least=4),
    Column("description", least=4),
]
TEXT = st.text(max_size=60)


def test_rows_to_lines_by_hand() -> None:
    """Names stay whole while the description can give way."""
    rows = [["ant", "60", "animal", "an ant on a leaf"], ["bumble-bee", "5", "", "a bee"]]
    assert rows_to_lines(COLUMNS, rows, 40) == [
        "name        samples  tags    description",
        "ant              60  animal  an ant on…",
        "bumble-bee        5          a bee",
    ]


def test_names_shrink_last() -> None:
    lines = rows_to_lines(COLUMNS, [["a-very-long-name-of-a-model", "60", "animal", "x" * 30]], 40)
    assert lines[1] == "a-very-long-name-o…       60  ani…  xxx…"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 6, "日本語"), ("日本語", 5, "日本…"), ("日本語", 4, "日…")],
)
def test_cut_counts_cells(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected


@given(st.lists(st.tuples(TEXT, st.integers(0, 10**6).map(str), TEXT, TEXT), max_size=5), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    lines = rows_to_lines(COLUMNS, rows, width)
    assert len(lines) == len(rows) + 1
    assert all(cell_width(line) <= width for line in lines)


@given(TEXT)
def test_printable_drives_no_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_plain_has_no_nan() -> None:
    assert plain({"a": float("nan"), "b": [float("-inf"), 1.5], "c": frozenset({"y", "x"})}) == {
        "a": None,
        "b": [None, 1.5],
        "c": ["x", "y"],
    }
