"""Pictures in a zip file, read on demand by any thread."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from engine.errors import InvalidImage, InvalidInput
from engine.samples.bounds import GENEROUS, Bounds
from engine.samples.labels import name_to_label
from engine.samples.members import Budget, Member, Read, is_picture_name, is_weights_name, name_to_member, too_much

ENCRYPTED = 0x1  # general purpose bit 0, APPNOTE.TXT 4.4.4
SYMLINK = 0o120000
ENTRY = 128
"""Bytes of a member in the directory: 46 and its name, on average."""
END = 2**17
"""Bytes at the end of a file in which ``zipfile`` looks for the directory's place."""


class _Directory(io.BufferedReader):
    """A zip file of which, while it is opened, no more is read at once than its directory may have."""

    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None:
            rest = os.fstat(self.fileno()).st_size - self.tell()
            size = rest if size is None or size < 0 else min(size, rest)
            if size > self.most:
                raise zipfile.BadZipFile(f"its directory has {size} bytes, more than the {self.most} allowed here")
        return super().read(size)


def open_zip(path: Path, bounds: Bounds) -> zipfile.ZipFile:
    """Open a zip file and read its directory, which ``zipfile`` holds whole, a few hundred bytes a member.

    Raises:
        InvalidInput: it has more members than ``bounds`` allow.
        Exception: it is broken; ``zipfile`` lets struct.error, NotImplementedError and others through.
    """
    stream = _Directory(io.FileIO(path))
    stream.most = max(bounds.members * ENTRY, END)
    try:
        archive = zipfile.ZipFile(stream)
        stream.most = None
        bounds.check(name_to_label(path.name), len(archive.infolist()), bounds.members, "members")
    except BaseException:
        stream.close()
        raise
    archive._filePassed = 0  # type: ignore[attr-defined]
    return archive


class ZipArchive:
    """A zip file; its directory is read once, its members when they are wanted."""

    def __init__(self, path: Path, *, max_member: int, max_bytes: int, bounds: Bounds = GENEROUS) -> None:
        """Open it and list its pictures.

        Raises:
            InvalidInput: it is broken, encrypted, claims to unpack to more than ``max_bytes``, or has more members
                than ``bounds`` allow.
        """
        self._label = name_to_label(path.name)
        self._lock = threading.Lock()
        self._max_member = max_member
        self._max_bytes = max_bytes
        try:
            self._zip = open_zip(path, bounds)
        except InvalidInput:
            raise
        except Exception as exc:  # zipfile lets struct.error, NotImplementedError and others through
            raise InvalidInput(f"{self._label} is not a zip file that can be read: {exc}") from exc
        try:
            files = [info for info in self._zip.infolist() if info.filename and not info.is_dir()]
            self._infos = [info for info in files if is_picture_name(info.filename)]
            self.weights = [info.filename for info in files if is_weights_name(info.filename)]
            self._check()
            self.members: list[Member] = [
                name_to_member(info.filename, info.file_size, max_member, _fault(info)) for info in self._infos
            ]
        except BaseException:
            self._zip.close()
            raise

    def reads(self, start: int) -> Iterator[Read]:
        """What reads each member from number ``start`` on."""
        budget = Budget(self._max_bytes, self._label)
        for info in self._infos[start:]:
            yield partial(self._read, info, budget)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def _check(self) -> None:
        if any(info.flag_bits & ENCRYPTED for info in self._infos):
            raise InvalidInput(f"{self._label} is encrypted", hint="unpack it with its password first")
        if sum(info.file_size for info in self._infos) > self._max_bytes:
            raise too_much(self._label, self._max_bytes)

    def _read(self, info: zipfile.ZipInfo, budget: Budget) -> bytes:
        try:
            with self._lock, self._zip.open(info) as stream:
                data = stream.read(self._max_member + 1)
        except Exception as exc:  # zlib.error, BadZipFile (checksum), EOFError, NotImplementedError …
            raise InvalidImage(f"{name_to_label(info.filename)} cannot be unpacked: {exc}") from exc
        if len(data) > self._max_member:
            raise InvalidImage(f"{name_to_label(info.filename)} unpacks to more than {self._max_member} bytes")
        budget.spend(len(data))
        return data


def _fault(info: zipfile.ZipInfo) -> str | None:
    kind = (info.external_attr >> 16) & 0o170000
    return "it is a link" if kind == SYMLINK else None
