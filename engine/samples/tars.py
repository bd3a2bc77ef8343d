"""Pictures in a tar file. A plain one is read at any place by any thread; a compressed one only from front to back.

A webdataset is a tar whose members come in groups (``0001.jpg``, ``0001.txt``, ``0001.json``): the pictures are taken
and the rest is passed over.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from engine.errors import InvalidImage, InvalidInput
from engine.samples.bounds import GENEROUS, Bounds
from engine.samples.labels import name_to_label
from engine.samples.members import LONGEST, Budget, Member, Read, is_picture_name, is_weights_name, name_to_member

COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""First bytes of a compressed file, and what opens it."""
BLOCK = tarfile.BLOCKSIZE
MOST_HEADER = 2**20
"""Extended headers (long names) are read whole by ``tarfile``; an honest one has a few hundred bytes."""
MOST_GLOBAL = 1000
"""Global headers' entries, which ``tarfile`` copies to every member."""
MORE = 504
"""Where a block of a sparse file's parts says whether another follows (GNU tar, "Sparse Formats")."""


@dataclass(frozen=True)
class _Place:
    """Where a member's bytes lie in the plain tar."""

    member: Member
    offset: int
    size: int


class TarArchive:
    """A tar file, plain or compressed with gzip, bzip2 or xz. Opening it reads every header once."""

    def __init__(self, path: Path, *, max_member: int, max_bytes: int, bounds: Bounds = GENEROUS) -> None:
        """Open it and list its pictures.

        Raises:
            InvalidInput: it is broken or truncated, unpacks to more than ``max_bytes``, or has more members than
                ``bounds`` allow.
        """
        self._path = path
        self._label = name_to_label(path.name)
        self._max_member = max_member
        self._max_bytes = max_bytes
        self._bounds = bounds
        self._lock = threading.Lock()
        self._open = _opener(path)
        self._file: IO[bytes] | None = None
        self.weights: list[str] = []
        with closing(self._infos()) as infos:
            self._places = [self._place(info) for info in infos]
        self.members: list[Member] = [place.member for place in self._places]
        if self.weights:  # a tensor with a picture's key is of that sample, not a model
            keys = {_key(member.label) for member in self.members}
            self.weights = [name for name in self.weights if _key(name) not in keys]
        if self._open is None:
            self._file = open(path, "rb")  # noqa: SIM115 - held until close()

    def reads(self, start: int) -> Iterator[Read]:
        """What reads each member from number ``start`` on. From a compressed tar its bytes are read here, in order."""
        if self._open is None:
            yield from (partial(self._read_at, place) for place in self._places[start:])
            return
        with closing(self._infos(contents_from=start)) as infos:
            for number, info in enumerate(infos):
                if number >= start:
                    yield partial(_known, self._places[number].member, info.content)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _read_at(self, place: _Place) -> bytes:
        if self._file is None:
            raise InvalidImage(f"{place.member.label} cannot be read: the archive is closed")
        try:
            with self._lock:
                self._file.seek(place.offset)
                data = self._file.read(place.size)
        except (OSError, ValueError) as exc:  # ValueError: the file was closed
            raise InvalidImage(f"{place.member.label} cannot be read: {exc}") from exc
        return _whole(data, place.size, place.member.label)

    def _infos(self, contents_from: int | None = None) -> Generator[_Info, None, None]:
        """Headers of the pictures, in order; from number ``contents_from`` on with their bytes."""
        number = 0
        try:
            with _Counted(self._path, self._open, Budget(self._max_bytes, self._label)) as stream:
                mode = "r:" if self._open is None else "r|"
                with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Info) as tar:  # type: ignore[call-overload]
                    for count, info in enumerate(tar, 1):
                        tar.members = []  # links are not followed, and they add up
                        self._bounds.check(self._label, count, self._bounds.members, "members")
                        if contents_from is None and not info.isdir() and is_weights_name(info.name):
                            self.weights.append(info.name[:LONGEST])
                        if info.isdir() or not is_picture_name(info.name):
                            continue
                        wanted = contents_from is not None and number >= contents_from
                        if wanted and self._place(info).member.fault is None:
                            content = tar.extractfile(info)
                            assert content is not None
                            info.content = _whole(content.read(), info.size, name_to_label(info.name))
                        number += 1
                        yield info
                    _check_end(tar, stream)
        except InvalidInput:
            raise
        except Exception as exc:  # TarError, EOFError, zlib.error, lzma.LZMAError, OSError …
            raise InvalidInput(
                f"{self._label} is broken or truncated after {number} pictures: {exc}", hint="fetch it again"
            ) from exc

    def _place(self, info: tarfile.TarInfo) -> _Place:
        fault = None
        if info.issparse():
            fault = "it is a sparse file"
        elif not info.isreg():
            fault = "it is a link" if info.issym() or info.islnk() else "it is not a regular file"
        return _Place(name_to_member(info.name, info.size, self._max_member, fault), info.offset_data, info.size)


class _Info(tarfile.TarInfo):
    """A header that refuses to read an extended header of unreasonable size, and can carry its member's bytes."""

    content: bytes = b""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*extended, tarfile.SOLARIS_XHDTYPE) and self.size > MOST_HEADER:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        if self.type == tarfile.XGLTYPE and len(tar.pax_headers) > MOST_GLOBAL:
            raise tarfile.ReadError(f"more than {MOST_GLOBAL} global headers")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _proc_sparse(self, tar: Any) -> Any:
        """A sparse file is refused: the list of its parts, which may be as long as the archive, is passed over."""
        _, more, size = self._sparse_structs  # type: ignore[attr-defined]
        del self._sparse_structs  # type: ignore[attr-defined]
        while more:
            block = tar.fileobj.read(BLOCK)
            if len(block) != BLOCK:
                raise tarfile.ReadError("a sparse file's list of parts is cut short")
            more = bool(block[MORE])
        self.sparse: Any = []
        self.offset_data = tar.fileobj.tell()
        tar.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        self.size = size
        return self

    def _proc_gnusparse_10(self, found: Any, _headers: Any, _tar: Any) -> None:
        """Likewise of the list in front of the content."""
        found.sparse = []


class _Counted(io.RawIOBase):
    """The unpacked tar, whose every read is taken from a budget."""

    def __init__(self, path: Path, opener: Any, budget: Budget) -> None:
        self._stream: IO[bytes] = (opener or open)(path, "rb")
        self._budget = budget if opener is not None else None  # a plain tar is no larger than its file

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if self._budget is not None:
            self._budget.spend(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        super().close()


def _check_end(tar: tarfile.TarFile, stream: _Counted) -> None:
    """``tarfile`` takes a header that is cut short for the end of the archive; it is not."""
    if isinstance(tar.fileobj, _Counted):
        rest = stream.seek(0, io.SEEK_END) - tar.offset
        if 0 < rest < BLOCK:
            raise tarfile.ReadError("the last header is cut short")


def _key(name: str) -> str:
    """A webdataset's name of a sample: a member's path up to the first dot in its last part."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _opener(path: Path) -> Any:
    with open(path, "rb") as stream:
        head = stream.read(8)
    return next((opener for magic, opener in COMPRESSED.items() if head.startswith(magic)), None)


def _known(member: Member, data: bytes) -> bytes:
    return data


def _whole(data: bytes, size: int, label: str) -> bytes:
    if len(data) != size:
        raise InvalidImage(f"{label} is cut short: {len(data)} of {size} bytes")
    return data
