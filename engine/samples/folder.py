"""Pictures in a folder, recursively, in an order that every platform agrees on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from engine.errors import InvalidImage, NotEnoughSamples, SourceNotFound
from engine.samples.decode import MAX_PIXELS, SUFFIXES, open_regular, path_to_image
from engine.samples.labels import name_to_bytes, name_to_label
from engine.samples.protocol import Sample
from engine.samples.several import Look

CHUNK = 2**20


def folder_to_names(folder: Path) -> list[str]:
    """Relative POSIX paths of the files with a picture's suffix; see ``list_folder``."""
    return list_folder(folder).pictures


def list_folder(folder: Path) -> Look:
    """Relative POSIX paths of the files with a picture's suffix, sorted by their bytes, and of weights.

    Hidden files and folders are left out. Linked folders are entered, each real folder once, so that loops of links
    end and nothing is counted twice.

    Raises:
        SourceNotFound: the folder, or one inside it, cannot be listed.
    """
    found = Look()
    seen: set[tuple[int, int]] = set()
    waiting = [(folder, "")]
    while waiting:
        here, prefix = waiting.pop()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: name_to_bytes(entry.name))
        except OSError as exc:
            label = name_to_label(str(here))
            raise SourceNotFound(f"the folder {label} cannot be listed: {exc.strerror}") from exc
        folders = [(here / entry.name, f"{prefix}{entry.name}/") for entry in entries if found.take(entry, prefix)]
        waiting.extend(reversed(folders))
    found.pictures.sort(key=name_to_bytes)
    return found


class FolderSource:
    """The pictures under a folder. The list is taken once, when the source is opened."""

    kind = "folder"

    def __init__(self, path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> None:
        """List the folder.

        Raises:
            SourceNotFound: there is no such folder, or it cannot be listed.
            NotEnoughSamples: there are no pictures in it.
        """
        self._folder = Path(path).absolute()
        self._max_pixels = max_pixels
        self._digest: str | None = None
        label = name_to_label(str(path))
        if not self._folder.is_dir():
            raise SourceNotFound(f"there is no folder {label}")
        self.listed = list_folder(self._folder)
        self._names = self.listed.pictures
        if not self._names:
            raise NotEnoughSamples(
                f"the folder {label} has no pictures in it",
                hint=f"files are taken by their suffix: {' '.join(sorted(SUFFIXES))}; render .svg to .png first",
            )

    def describe(self) -> dict[str, Any]:
        """Type, absolute path and number of files."""
        return {"type": self.kind, "path": name_to_label(str(self._folder)), "files": len(self._names)}

    def digest(self) -> str:
        """SHA-256 over each file's relative path, size and content (modification times say nothing reliable)."""
        if self._digest is None:
            total = hashlib.sha256(b"folder")
            for name in self._names:
                raw = name_to_bytes(name)
                total.update(f"{len(raw)}:".encode() + raw + _file_mark(self._folder / name))
            self._digest = total.hexdigest()
        return self._digest

    def count(self) -> int:
        """How many files there are, good or bad."""
        return len(self._names)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """The files from number ``start`` on."""
        for index in range(start, len(self._names)):
            name = self._names[index]
            label = name_to_label(name)
            load = partial(path_to_image, self._folder / name, label=label, max_pixels=self._max_pixels)
            yield Sample(index, label, load)

    def close(self) -> None:
        """Nothing is held open."""


def file_to_digest(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces.

    Raises:
        InvalidImage: it is gone or not a regular file.
        OSError: it cannot be read to its end.
    """
    digest = hashlib.sha256()
    with open_regular(path, label=name_to_label(str(path))) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _file_mark(path: Path) -> bytes:
    try:
        return f":{os.stat(path).st_size}:{file_to_digest(path)};".encode()
    except (InvalidImage, OSError):
        return b":unreadable;"
