"""What a model is called when nobody says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import InvalidInput


def source_to_name(source: Any) -> str:
    """A folder's name, or a file's up to its first dot.

    Raises:
        InvalidInput: the source is neither, so a name must be given.
    """
    if isinstance(source, (str, Path)) and ":" not in str(source):
        path = Path(source)
        return path.resolve().name if path.is_dir() else path.name.split(".")[0]
    raise InvalidInput(f"a model ingested from {source!r:.80} needs a name", hint="give name=… or --name")
