"""Pictures that were asked with: kept under their digest, so that an address with a picture in it can be shared."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from PIL import Image

from engine.errors import InvalidImage, InvalidQuery
from engine.files import write_error
from engine.samples.decode import bytes_to_image
from engine.samples.labels import error_to_reason
from engine.samples.room import one_picture

SIDE = 512
"""Pixels of the longer side that are kept: encoders look at no more."""
BYTES = 256 * 2**20
DIGITS = 32
NAME = re.compile(f"[0-9a-f]{{{DIGITS}}}")


class Pictures:
    """A folder of query pictures, of which those that were not asked with for longest go when it is full.

    A picture's name is the beginning of its bytes' SHA-256, so that one that was damaged is noticed when it is read.
    Threads may share it.
    """

    def __init__(self, folder: Path, *, max_pixels: int, most: int = BYTES) -> None:
        self._folder, self._max_pixels, self._most = folder, max_pixels, most
        self._lock = threading.Lock()
        self._size: int | None = None

    def keep(self, data: bytes) -> str:
        """The name of an encoded picture, which is decoded, made small and kept.

        Raises:
            InvalidImage: it is none, or cannot be made smaller.
            DiskFull, StorageError: it cannot be kept.
        """
        with one_picture():
            kept = _made_small(bytes_to_image(data, label="the picture", max_pixels=self._max_pixels))
        name = hashlib.sha256(kept).hexdigest()[:DIGITS]
        with self._lock:
            path = self._folder / name
            try:
                if not path.exists():
                    self._write(path, kept)
                    self._make_room()
                os.utime(path)
            except OSError as error:
                raise write_error(
                    f"the picture cannot be kept in {self._folder}", error, hint="search without one meanwhile"
                ) from error
        return name

    def read(self, name: str) -> bytes:
        """The bytes of a kept picture.

        Raises:
            InvalidQuery: it is not kept, or no longer.
        """
        path = self._folder / name
        try:
            data = path.read_bytes() if NAME.fullmatch(name) else b""
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest()[:DIGITS] != name:
            raise InvalidQuery(
                "the picture that was asked with is no longer kept here", hint="drop it into the bar again"
            )  # fmt: skip
        with suppress(OSError):  # a folder that cannot be written: the picture is there all the same
            os.utime(path)
        return data

    def _write(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as stream:
            beside = Path(stream.name)
            try:
                stream.write(data)
                stream.flush()
                beside.replace(path)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        if self._size is not None:
            self._size += len(data)

    def _make_room(self) -> None:
        if self._size is not None and self._size <= self._most:
            return
        by_age = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in self._folder.iterdir())
        self._size = sum(size for _, size, _ in by_age)
        if self._size <= self._most:
            return
        for _, size, path in by_age[:-1]:  # the newest has just come
            if self._size <= self._most * 0.9:
                break
            path.unlink()
            self._size -= size


def _made_small(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    try:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        if _has_few_colours(image):  # a drawing: exact, and smaller so
            image.save(stream, "PNG", optimize=True)
        else:
            image.save(stream, "WEBP", quality=95)
    except Exception as exc:
        raise InvalidImage(f"the picture cannot be made smaller: {error_to_reason(exc)}") from exc
    return stream.getvalue()


def _has_few_colours(image: Image.Image) -> bool:
    return image.convert("L").getcolors(16) is not None or image.getcolors(256) is not None


def media_type(data: bytes) -> str:
    """Of what ``Pictures`` keeps."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/webp"
