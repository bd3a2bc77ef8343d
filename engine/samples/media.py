"""What an encoded picture is called when it is handed on: by its own first bytes, whatever is stored about it."""

from __future__ import annotations

MEDIA_TYPES = ("image/webp", "image/png", "image/jpeg")
"""What is handed on. In none of them can a browser find a script."""


def media_type(data: bytes) -> str | None:
    """The media type that bytes begin as, or None for what must not be handed on."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/jpeg" if data.startswith(b"\xff\xd8\xff") else None
