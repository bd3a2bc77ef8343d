"""File names and foreign errors to text that can be printed, stored as JSON, and shown on a terminal."""

from __future__ import annotations

import os


def name_to_label(name: str) -> str:
    """A file name, however odd, to printable text: undecodable bytes and control characters become escapes.

    ``"a\\nb"`` → ``"a\\\\nb"``; the byte ``0xff`` (a lone surrogate in Python's file names) → ``"\\\\xff"``.
    """
    return "".join(character if character.isprintable() else _escape(character) for character in name)


def name_to_bytes(name: str) -> bytes:
    """A file name to the bytes it has on disk: the order that every platform and locale agrees on."""
    return os.fsencode(name)


def error_to_reason(error: Exception) -> str:
    """What a foreign error says, as a printable clause; its type where it says nothing."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return name_to_label(text) or type(error).__name__


def _escape(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
