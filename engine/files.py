"""Files that must be there whole or not at all: syncing them, renaming them into place, and what went wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from engine.errors import DiskFull, InvalidInput, StorageError


def checked_path(path: str | Path) -> Path:
    """A path that a file can have.

    Raises:
        InvalidInput: it is empty, has a NUL character, or a lone surrogate that stands for no byte.
    """
    try:
        if path != "" and b"\0" not in os.fsencode(path):
            return Path(path)
    except UnicodeEncodeError:
        pass
    raise InvalidInput(f"{str(path)!r:.200} is not a path", hint="give the path of a file or folder")


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_into_place(beside: Path, path: Path) -> None:
    """Rename a synced file over ``path``, in the same folder, and sync the folder. Raises: OSError."""
    beside.replace(path)
    sync(path.parent)


def write_error(message: str, error: OSError, *, hint: str) -> StorageError:
    """The error to raise for a file that could not be written: ``DiskFull`` where there is no room for it."""
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(f"{message}: {error}", hint=hint)
