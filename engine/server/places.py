"""Messages without the server's paths and addresses: callers need not know where anything lies."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine import errors
from engine.errors import EngineError

FILE = "a file of the server"
ADDRESS = re.compile(r"\b(?:sqlite|postgres(?:ql)?)(?:\+\w+)?:/\S+")
PATH = re.compile(r"(?<![\w/.])(?:/|[A-Za-z]:\\)(?:[^\s/'\":,;()]+[/\\])+[^\s'\":,;()]*")
"""Absolute paths of two parts or more."""
REST = r"(?:[/\\][^\s'\":,;()]*)?"
"""Of a path, after a folder that is known."""
NAMING = (errors.ModelNotFound, errors.TransformNotFound, errors.InvalidFilter)
"""Errors that tell what was asked for, and nothing of the server: a name in them may look like a path."""


def without_paths(text: str, roots: Sequence[str] = (), *, unknown: bool = True) -> str:
    """A message without paths.

    Args:
        roots: places whose names may have blanks in them or be relative; one word alone is left: it may be a name.
        unknown: whether whatever looks like an absolute path is left out, too.
    """
    for root in roots:
        if any(mark in root for mark in "/\\.") and root not in (".", "/"):
            text = re.sub(rf"(?<![\w.-]){re.escape(root)}(?![\w-]){REST}", FILE, text)
    text = ADDRESS.sub("the database", text)
    return PATH.sub(FILE, text) if unknown else text


def told(error: EngineError, roots: Sequence[str] = ()) -> tuple[str, str | None]:
    """An error's message and hint without paths."""
    unknown = not isinstance(error, NAMING)
    hint = None if error.hint is None else without_paths(error.hint, roots, unknown=unknown)
    return without_paths(error.message, roots, unknown=unknown), hint
