"""docs/security.md: its table of limits is the code's, and the tests that it names are there."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from pathlib import Path

from engine.server import limits
from engine.server.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_the_limits_are_the_codes() -> None:
    body = next(node for node in ast.parse(inspect.getsource(limits)).body if isinstance(node, ast.ClassDef)).body
    said = {
        field.target.id: docs.value.value
        for field, docs in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(docs, ast.Expr) and isinstance(docs.value, ast.Constant)
    }
    rows = [f"| `{name}` | {getattr(Limits(), name):,} | {what} |" for name, what in said.items()]
    assert "\n".join(rows) in TEXT, "the table should be:\n" + "\n".join(rows)


def test_the_tests_it_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).is_file()] == []
