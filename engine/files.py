"""Files that must be there whole or not at all, and that are nobody else's: making, syncing and renaming them.

What holds a collection is made for its owner alone: 0600, and 0700 for folders. Where a folder lets its group in and
nobody else, such as 0750, what is made in it has the group's rights, too. What is there keeps its mode.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, cast

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


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are not there. Raises: OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(0o700 | _group_rights(path.parent))
    except FileExistsError:
        if not path.is_dir():
            raise


def file_mode(folder: Path) -> int:
    """The mode of a file that is made in a folder. Raises: OSError."""
    return 0o600 | _group_rights(folder) & 0o060


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file for writing bytes; one that is made has ``file_mode`` from the beginning. Raises: OSError."""
    rights = file_mode(path.parent)
    return cast("IO[bytes]", open(path, mode, opener=lambda name, flags: os.open(name, flags, rights)))


def narrow(folder: Path) -> None:
    """Give files that others' code has just made in a folder of ours their ``file_mode``. Raises: OSError."""
    rights = file_mode(folder)
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode & rights)


def _group_rights(folder: Path) -> int:
    mode = folder.stat().st_mode
    return mode & 0o070 if mode & 0o007 == 0 and mode & 0o050 == 0o050 else 0


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
