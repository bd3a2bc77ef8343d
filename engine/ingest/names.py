"""What a model is called when nobody says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import InvalidInput
from engine.samples.brace_expansion import RANGE


def source_to_name(source: Any) -> str:
    """A folder's name, or a file's up to its first dot (of shards ``fox-{000..010}.tar``, what they share: ``fox``).

    Raises:
        InvalidInput: the source is neither, so a name must be given.
    """
    if isinstance(source, (str, Path)) and ":" not in str(source):
        path = Path(source)
        if path.is_dir():
            return path.resolve().name
        return RANGE.split(path.name)[0].split(".")[0].rstrip("-_") or path.name
    raise InvalidInput(f"a model ingested from {source!r:.80} needs a name", hint="give name=… or --name")
