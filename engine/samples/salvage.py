"""A PNG or JPEG file without its metadata, for pictures whose metadata Pillow stumbles over.

A bad chunk or segment beside the pixels, a colour profile or a comment beyond Pillow's 1 MiB, costs only itself. What
changes the pixels stays where it is whole: transparency, the rotation in EXIF, what a JPEG's colour space is read from.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PNG_WANTED = (b"tRNS", b"eXIf")
JPEG_WANTED = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""Segments that libjpeg judges the colour space by: how they begin, and how long they are at least."""
JPEG_EXIF = b"Exif\0\0"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that state the size of the picture (ITU T.81, table B.1)."""
HEADER = 2**20
"""Bytes that the tables ahead of a JPEG's pixels may take; a few thousand are usual."""


def without_metadata(stream: IO[bytes], form: str, max_bytes: Callable[[int], int]) -> Iterator[io.BytesIO]:
    """Copies of a picture's file with less and less beside the pixels; none where there is nothing to leave out.

    Args:
        form: Pillow's name for the format; all but PNG and JPEG have no copies.
        max_bytes: the largest file of so many pixels; a file that holds more is not copied.
    """
    strip = {"PNG": _png, "JPEG": _jpeg}.get(form)
    if strip is None:
        return
    size = stream.seek(0, io.SEEK_END)
    for wanted in (True, False):
        copy = io.BytesIO()
        try:
            with suppress(struct.error):  # it ends early: perhaps behind its last pixel
                strip(stream, copy, wanted, max_bytes)
        except (OSError, ValueError):
            return
        if len(copy.getbuffer()) < size:
            size = len(copy.getbuffer())
            yield copy


def _png(stream: IO[bytes], kept: io.BytesIO, wanted: bool, max_bytes: Callable[[int], int]) -> None:
    kept.write(PNG_SIGNATURE)
    stream.seek(len(PNG_SIGNATURE))
    room, kind = HEADER, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", stream.read(8))
        if kind not in PNG_CRITICAL and not (wanted and kind in PNG_WANTED):
            stream.seek(length + 4, io.SEEK_CUR)
            continue
        body = stream.read(_within(length + 4, room - kept.tell()))
        if kind == b"IHDR":
            room = max_bytes(math.prod(struct.unpack(">II", body[:8])))
        if kind in PNG_CRITICAL or body[-4:] == struct.pack(">I", zlib.crc32(kind + body[:-4])):
            kept.write(struct.pack(">I4s", length, kind) + body)


def _jpeg(stream: IO[bytes], kept: io.BytesIO, wanted: bool, max_bytes: Callable[[int], int]) -> None:
    kept.write(b"\xff\xd8")
    stream.seek(2)
    marker, room = 0, HEADER
    while marker != 0xDA:  # start of scan: from here on pixels
        (marker,) = struct.unpack(">B", stream.read(1))
        if marker != 0xFF:
            continue  # junk between segments, which Pillow skips as well
        while marker == 0xFF:
            (marker,) = struct.unpack(">B", stream.read(1))
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD9:  # without content
            continue
        (length,) = struct.unpack(">H", stream.read(2))
        body = stream.read(max(length - 2, 0))
        if marker in FRAMES:
            room = max_bytes(math.prod(struct.unpack(">HH", body[1:5])))
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or _is_wanted(marker, body, exif=wanted):
            _within(length, HEADER - kept.tell())
            kept.write(struct.pack(">BBH", 0xFF, marker, length) + body)
    kept.write(stream.read(room + 1))
    _within(kept.tell(), room)


def _is_wanted(marker: int, body: bytes, *, exif: bool) -> bool:
    if marker == 0xE1:
        return exif and body.startswith(JPEG_EXIF)
    begins, least = JPEG_WANTED.get(marker, (b"", 0))
    return bool(begins) and body.startswith(begins) and len(body) >= least


def _within(length: int, room: int) -> int:
    if length > room:
        raise ValueError("more bytes than such a picture has")
    return length
