"""Pictures in archives: zip, tar, compressed tar, and webdatasets of one or many shards."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from engine.errors import InvalidImage, InvalidInput, NotEnoughSamples, SourceNotFound
from engine.samples.bounds import GENEROUS, Bounds
from engine.samples.brace_expansion import pattern_to_names
from engine.samples.decode import MAX_PIXELS, SUFFIXES, bytes_to_image, max_bytes
from engine.samples.folder import file_to_digest
from engine.samples.labels import name_to_label
from engine.samples.members import MAX_ARCHIVE_BYTES, Archive, Member, Read
from engine.samples.protocol import Sample
from engine.samples.tars import COMPRESSED, TarArchive
from engine.samples.zips import ZipArchive


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its content (a gzip file is taken for a ``.tar.gz``).

    Raises:
        OSError: it cannot be read.
    """
    return _kind(path) is not None


class ArchiveSource:
    """The pictures in one archive, or in shards that are read one after another, in the archives' own order."""

    kind = "archive"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_pixels: int = MAX_PIXELS,
        max_archive_bytes: int = MAX_ARCHIVE_BYTES,
        bounds: Bounds = GENEROUS,
    ) -> None:
        """Open the archives and list their members.

        Args:
            path: a file, or a pattern such as ``shard-{000..010}.tar``.
            max_archive_bytes: the most that one archive may unpack to.
            bounds: what else each may hold.

        Raises:
            SourceNotFound: a file is missing or cannot be read.
            NotEnoughSamples: there are no pictures in it.
            InvalidInput: an archive is broken, encrypted or unpacks to too much.
        """
        self._pattern = Path(path).absolute()
        self._paths = [Path(name) for name in pattern_to_names(str(self._pattern))]
        self._max_pixels = max_pixels
        self._digest: str | None = None
        self._archives: list[Archive] = []
        try:
            for shard in self._paths:
                self._archives.append(_open(shard, max_bytes(max_pixels), max_archive_bytes, bounds))
            if self.count() == 0:
                raise NotEnoughSamples(
                    f"{name_to_label(str(path))} has no pictures in it",
                    hint=f"members are taken by their suffix: {' '.join(sorted(SUFFIXES))}",
                )
        except BaseException:
            self.close()
            raise

    def describe(self) -> dict[str, Any]:
        """Type, absolute path or pattern, and numbers of archives and members."""
        path = name_to_label(str(self._pattern))
        return {"type": self.kind, "path": path, "archives": len(self._paths), "files": self.count()}

    def digest(self) -> str:
        """SHA-256 over the archives' own SHA-256 sums."""
        if self._digest is None:
            total = hashlib.sha256(b"archive")
            for path in self._paths:
                total.update(file_to_digest(path).encode())
            self._digest = total.hexdigest()
        return self._digest

    def names(self) -> list[str]:
        """The members' names, without those that are refused for their names."""
        return [member.label for archive in self._archives for member in archive.members if member.fault is None]

    def weights(self) -> list[str]:
        """Names of members that look like a model's weights."""
        return [name for archive in self._archives for name in archive.weights]

    def count(self) -> int:
        """How many pictures there are, good or bad."""
        return sum(len(archive.members) for archive in self._archives)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """The pictures from number ``start`` on. A sample of a compressed tar carries its undecoded bytes."""
        first = 0
        for path, archive in zip(self._paths, self._archives, strict=True):
            skip = max(0, start - first)
            if skip < len(archive.members):
                prefix = f"{name_to_label(path.name)}/" if len(self._paths) > 1 else ""
                for number, read in enumerate(archive.reads(skip), skip):
                    member = archive.members[number]
                    label = prefix + member.label
                    yield Sample(first + number, label, partial(_load, member, read, label, self._max_pixels))
            first += len(archive.members)

    def close(self) -> None:
        """Close the files."""
        for archive in self._archives:
            archive.close()


def _open(path: Path, max_member: int, max_bytes: int, bounds: Bounds) -> Archive:
    label = name_to_label(str(path))
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "is not there"
        raise SourceNotFound(f"the archive {label} {what}")
    try:
        kind = _kind(path)
        if kind is not None:
            most = min(max_member, bounds.member_bytes)
            return kind(path, max_member=most, max_bytes=min(max_bytes, bounds.unpacked_bytes), bounds=bounds)
    except OSError as exc:
        raise SourceNotFound(f"the archive {label} cannot be read: {exc.strerror}") from exc
    raise InvalidInput(
        f"{label} is neither a zip nor a tar", hint="archives are .zip, .tar, .tar.gz, .tar.bz2 and .tar.xz"
    )


def _kind(path: Path) -> type[ZipArchive] | type[TarArchive] | None:
    """What an archive is by its content, without unpacking any of it."""
    with open(path, "rb") as stream:
        head = stream.read(tarfile.BLOCKSIZE)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZipArchive
    if head.startswith(tuple(COMPRESSED)) or _is_tar_header(head):
        return TarArchive
    return ZipArchive if zipfile.is_zipfile(path) else None


def _is_tar_header(head: bytes) -> bool:
    if len(head) == tarfile.BLOCKSIZE and not any(head):
        return True  # an empty tar: blocks of zeros
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _load(member: Member, read: Read, label: str, max_pixels: int) -> Image.Image:
    if member.fault is not None:
        raise InvalidImage(f"{label} is refused: {member.fault}")
    return bytes_to_image(read(), label=label, max_pixels=max_pixels)
