"""What is known of an archive's member before it is read, and which members are taken for pictures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from engine.errors import InvalidInput
from engine.samples.decode import SUFFIXES
from engine.samples.labels import name_to_label
from engine.samples.several import is_weights

MAX_ARCHIVE_BYTES = 64 * 2**30
"""As in ``Settings.max_archive_bytes``, for callers who have no settings at hand."""
LONGEST = 4096
SHOWN = 80
"""Characters of a member's name, PATH_MAX of Linux, and of one that is longer in messages."""

Read = Callable[[], bytes]
"""A member's bytes, or ``InvalidImage``; may be called on any thread, more than once."""


@dataclass(frozen=True)
class Member:
    """A picture in an archive; ``fault`` says why it is refused unread."""

    label: str
    fault: str | None = None


class Archive(Protocol):
    """One archive file. Nothing is ever written to disk under a member's name."""

    @property
    def members(self) -> list[Member]:
        """The pictures, in the archive's own order."""
        ...

    @property
    def weights(self) -> list[str]:
        """Names of files that look like a model's weights."""
        ...

    def reads(self, start: int) -> Iterator[Read]:
        """For each of ``members[start:]``, in order, what reads it."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class Budget:
    """Bytes that an archive may still unpack to. What its headers claim is never believed."""

    def __init__(self, limit: int, label: str) -> None:
        self._limit = limit
        self._label = label
        self._spent = 0
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Take bytes from it.

        Raises:
            InvalidInput: the archive has unpacked to more than its limit.
        """
        with self._lock:
            self._spent += count
            if self._spent > self._limit:
                raise too_much(self._label, self._limit)


def too_much(label: str, limit: int) -> InvalidInput:
    """The error for an archive that unpacks to more than its limit."""
    return InvalidInput(
        f"{label} unpacks to more than {limit} bytes",
        hint="split it, or raise max_archive_bytes (ENGINE_MAX_ARCHIVE_BYTES)",
    )


def is_picture_name(name: str) -> bool:
    """Whether a member is taken for a picture: by its suffix; hidden ones and macOS's resource forks are not."""
    return not _is_hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def is_weights_name(name: str) -> bool:
    """Whether a member is taken for a model's weights, by its name."""
    return not _is_hidden(name) and is_weights(name.replace("\\", "/"))


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(part.startswith(".") and part not in (".", "..") for part in parts) or "__MACOSX" in parts


def name_to_fault(name: str) -> str | None:
    """Why a member's name is refused: it points outside the archive. (Harmless here, but never an honest picture.)"""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "its name points outside the archive"
    return None


def name_to_member(name: str, size: int, most: int, fault: str | None = None) -> Member:
    """Judge a member by its name and claimed size."""
    if len(name) > LONGEST:
        return Member(f"{name_to_label(name[:SHOWN])}…", f"its name has {len(name)} characters")
    fault = fault or name_to_fault(name)
    if fault is None and size > most:
        fault = f"it has {size} bytes, more than the {most} that a picture may have"
    return Member(name_to_label(name), fault)
