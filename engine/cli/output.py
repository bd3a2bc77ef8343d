"""How results reach stdout: JSON, and text that is safe on a terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click

from engine.texts import is_visible

SPACES = re.compile(r"[^\S\u3000]+")
"""All but the ideographic space, which names may have."""


def show_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Records' values as JSON has them: no NaN or infinity (null instead), times in ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def printable(text: str) -> str:
    """One line without control characters: descriptions are other people's text and must not drive the terminal."""
    return "".join(c if is_visible(c) else "\ufffd" for c in SPACES.sub(" ", text).strip())


def say_remarks(remarks: Iterable[str]) -> None:
    """Values of a filter that no model has."""
    for remark in remarks:
        say(remark)


def say(text: str) -> None:
    """A remark that is not a result, on stderr."""
    click.echo(printable(text), err=True)
