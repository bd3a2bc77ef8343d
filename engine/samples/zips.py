"""Pictures in a zip file, read on demand by any thread."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from engine.errors import InvalidImage, InvalidInput
from engine.samples.labels import name_to_label
from engine.samples.members import Budget, Member, Read, is_picture_name, is_weights_name, name_to_member, too_much

ENCRYPTED = 0x1  # general purpose bit 0, APPNOTE.TXT 4.4.4
SYMLINK = 0o120000


class ZipArchive:
    """A zip file; its directory is read once, its members when they are wanted."""

    def __init__(self, path: Path, *, max_member: int, max_bytes: int) -> None:
        """Open it and list its pictures.

        Raises:
            InvalidInput: it is broken, encrypted, or claims to unpack to more than ``max_bytes``.
        """
        self._label = name_to_label(path.name)
        self._lock = threading.Lock()
        self._max_member = max_member
        self._max_bytes = max_bytes
        try:
            self._zip = zipfile.ZipFile(path)
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
