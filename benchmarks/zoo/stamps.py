"""Stamps: what a kept file was made from, beside it, so that it is made again when that changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.zoo.atomic import write_atomically


def parts_to_stamp(*parts: object) -> str:
    """A digest of whatever a file depends on; a path stands for the contents of its file."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def is_current(path: Path, stamp: str) -> bool:
    """Whether what the stamp at ``path`` vouches for was finished, from the same parts."""
    return path.is_file() and path.read_text(encoding="ascii") == stamp


def set_stamp(path: Path, stamp: str) -> None:
    """Vouch for what is finished. To be called last."""
    write_atomically(path, stamp.encode("ascii"))
