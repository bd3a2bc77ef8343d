"""Encoded bytes, files and arrays to RGB pictures, or to ``InvalidImage`` with a reason.

A picture's size is checked from its header, before a pixel is decoded. What Pillow would hand to another program
(EPS, PDF) or cannot recognise by its content (TGA, PCX) is not accepted at all.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from contextlib import suppress
from itertools import chain
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.errors import InvalidImage
from engine.samples.colour import array_to_image, image_to_rgb
from engine.samples.labels import error_to_reason, name_to_label
from engine.samples.library_output import quiet_pillow
from engine.samples.room import SMALL, room_for
from engine.samples.salvage import without_metadata

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "QOI", "JPEG2000", "AVIF")
"""Raster formats that are recognised by their first bytes and decoded in this process."""
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".pfm", ".qoi", ".jp2", ".j2k", ".avif",
})  # fmt: skip
"""Names that are taken for pictures in folders and archives; what they really hold is decided by content."""
MAX_PIXELS = 64_000_000
"""As in ``Settings.max_pixels``, for callers who have no settings at hand."""
NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes a pixel that Pillow decodes to; of other modes, and of the RGB that is made of them, ``WIDE``."""
WIDE = 4
READER = {"WEBP": 12, "AVIF": 12, "JPEG2000": 32, "TIFF": 8, "GIF": 4}
"""Bytes a pixel that a format's own decoder takes besides, where it is not fed line by line. Measured, rounded up."""
PROGRESSIVE = 2
"""Likewise of a progressive JPEG, a channel: its coefficients."""
FLOATS = 12
"""Bytes a number of a floating array on its way to a picture."""
POINTERS = 32
"""Bytes a line of the picture, in either direction: Pillow finds each by a pointer."""


def bytes_to_image(data: bytes, *, label: str = "image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Encoded bytes to a fully loaded RGB image.

    Raises:
        InvalidImage: it is empty, truncated, too large, or in no format that is accepted.
    """
    return _stream_to_image(io.BytesIO(data), label, max_pixels)


def path_to_image(
    path: str | os.PathLike[str], *, label: str | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """A file to a fully loaded RGB image.

    Raises:
        InvalidImage: as ``bytes_to_image``, or it is gone, unreadable, or not a regular file.
    """
    label = name_to_label(os.fspath(path)) if label is None else label
    with open_regular(path, label=label) as stream:
        if os.fstat(stream.fileno()).st_size > max_bytes(max_pixels):
            raise InvalidImage(f"{label} is larger than a picture of {max_pixels} pixels can be")
        return _stream_to_image(stream, label, max_pixels)


def any_to_image(value: Any, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A path, encoded bytes, a PIL image or an array to a fully loaded RGB image.

    Arrays are ``(h, w)`` or ``(h, w, 1 | 3 | 4)``, uint8 or floating in [0, 1].

    Raises:
        InvalidImage: it is none of these, or cannot be decoded.
    """
    if isinstance(value, (str, os.PathLike)):
        return path_to_image(value, max_pixels=max_pixels)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes_to_image(bytes(value), max_pixels=max_pixels)
    if isinstance(value, Image.Image):
        try:
            with quiet_pillow(max_pixels):
                return _decoded(value, "image", max_pixels)
        except InvalidImage:
            raise
        except Exception as exc:  # it is decoded only now
            raise InvalidImage(f"the image cannot be decoded: {error_to_reason(exc)}") from exc
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
        if array.ndim >= 2 and array.shape[0] * array.shape[1] > max_pixels:
            raise _too_large("array", (array.shape[1], array.shape[0]), max_pixels)
        with room_for(array.size * (FLOATS if array.dtype.kind == "f" else 2 * WIDE)):
            return array_to_image(array)
    raise InvalidImage(
        f"a picture is a path, bytes, a PIL image or a NumPy array, got {type(value).__name__}",
        hint="for a tensor: tensor.permute(1, 2, 0).numpy()",
    )


def is_large(head: bytes) -> bool:
    """Whether a picture that begins like this takes much memory to decode; what says nothing of its size does not."""
    form = _head_to_format(head[:512])
    if form is None:
        return False
    try:
        with quiet_pillow(), Image.OPEN[form][0](io.BytesIO(head), "") as image:
            return _bytes_to_decode(image) > SMALL
    except Exception:  # plugins raise whatever a broken file provokes
        return False


def max_bytes(max_pixels: int) -> int:
    """The largest file that a picture of so many pixels can be.

    16 bytes a pixel is float32 RGBA without compression; a mebibyte is left for metadata.
    """
    return 16 * max_pixels + 2**20


def open_regular(path: str | os.PathLike[str], *, label: str) -> IO[bytes]:
    """Open a regular file for reading, never waiting for a pipe or touching a device.

    Raises:
        InvalidImage: it is gone, unreadable, a loop of links, or not a regular file.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InvalidImage(f"{label} is not a regular file")
        # Between the two calls the file may have become a pipe: O_NONBLOCK keeps open() from waiting.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except InvalidImage:
        raise
    except FileNotFoundError as exc:
        raise InvalidImage(f"there is no file {label}") from exc
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        raise InvalidImage(f"{label} cannot be opened: {error_to_reason(exc)}") from exc
    stream = os.fdopen(number, "rb")
    if not stat.S_ISREG(os.fstat(number).st_mode):
        stream.close()
        raise InvalidImage(f"{label} is not a regular file")
    return stream


def _stream_to_image(stream: IO[bytes], label: str, max_pixels: int) -> Image.Image:
    try:
        head = stream.read(512)
    except OSError as exc:
        raise InvalidImage(f"{label} cannot be read: {error_to_reason(exc)}") from exc
    form = _head_to_format(head)
    if form is None:
        raise _unidentified(head, label)
    failure: Exception | None = None
    for attempt in chain([stream], without_metadata(stream, form, max_bytes)):
        try:
            attempt.seek(0)
            # Not Image.open, which says of whatever a reader fails at that it is no picture.
            with quiet_pillow(max_pixels), Image.OPEN[form][0](attempt, "") as image:
                return _decoded(image, label, max_pixels)
        except InvalidImage:
            raise
        except Exception as exc:  # plugins raise whatever a broken file provokes
            failure = exc.with_traceback(None)  # whose frames hold the picture
            if isinstance(exc, MemoryError):
                break
    assert failure is not None
    raise InvalidImage(f"{label} cannot be decoded as {form}: {error_to_reason(failure)}") from failure


def _decoded(image: Image.Image, label: str, max_pixels: int) -> Image.Image:
    if image.width * image.height > max_pixels:
        raise _too_large(label, image.size, max_pixels)
    if 0 in image.size:
        raise InvalidImage(f"{label} has no pixels")
    with room_for(_bytes_to_decode(image)):
        image.load()
        try:
            return image_to_rgb(image)
        except InvalidImage as exc:
            raise InvalidImage(f"{label}: {exc.message}", hint=exc.hint) from exc


def _bytes_to_decode(image: Image.Image) -> int:
    """What a picture takes at most while it is decoded and made RGB."""
    reader = READER.get(image.format or "", 0)
    if "progressive" in image.info or "progression" in image.info:
        reader = PROGRESSIVE * len(image.getbands())
    pixel = NARROW.get(image.mode, WIDE) + WIDE + reader
    return image.width * image.height * pixel + POINTERS * (image.width + image.height)


def _head_to_format(head: bytes) -> str | None:
    """The accepted format that a file begins as, in Pillow's words."""
    for form in _formats():
        accept = Image.OPEN[form][1]
        with suppress(IndexError, struct.error):  # too short for this one
            if accept is not None and accept(head[:16]):
                return form
    return None


def _formats() -> tuple[str, ...]:
    """The accepted formats that this build of Pillow has (asking ``Image.open`` for another is a KeyError)."""
    if any(name not in Image.OPEN for name in FORMATS):
        Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _too_large(label: str, size: tuple[int, int], max_pixels: int) -> InvalidImage:
    return InvalidImage(
        f"{label} is {size[0]} x {size[1]} pixels, more than the {max_pixels} allowed",
        hint="scale it down, or raise max_pixels (ENGINE_MAX_PIXELS)",
    )


def _unidentified(head: bytes, label: str) -> InvalidImage:
    if not head:
        return InvalidImage(f"{label} is empty")
    if b"<svg" in head.lower() or head.lstrip().startswith(b"<?xml"):
        return InvalidImage(f"{label} is an SVG, not a raster picture", hint="render it to PNG first")
    if head.startswith((b"%PDF", b"%!PS")):
        return InvalidImage(f"{label} is a PDF or PostScript document", hint="render it to PNG first")
    return InvalidImage(f"{label} is not a picture in an accepted format", hint=f"accepted: {', '.join(FORMATS)}")
