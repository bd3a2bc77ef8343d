"""Snapshots of an index on disk: published atomically, checksummed, and only ever a cache of the database.

A snapshot is a folder ``<root>/<encoder key>/<generation>`` with the index's files and, written last, the file
``<root>/<encoder key>/CURRENT.json`` that names the generation, its files' SHA-256 and the last change it contains.
Publishing writes a new generation, syncs it, and renames the new ``CURRENT.json`` into place; a killed process
leaves either the old snapshot or the new one. Old generations are removed after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from pathlib import Path

from engine.errors import CorruptData
from engine.files import make_folder, narrow, open_private, sync, write_error
from engine.index.base import FirstMomentIndex
from engine.index.choose import KINDS
from engine.index.manifest import CURRENT, FORMAT, SnapshotManifest, manifest_to_text, read_manifest

__all__ = ["SnapshotManifest", "file_checksum", "load", "load_current", "publish", "read_manifest"]

ABANDONED = 3600.0
"""Seconds after which what an unfinished publisher wrote is taken to have been left by a killed one."""


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def publish(
    root: Path, index: FirstMomentIndex, *, collection: str, encoder: str, fingerprint: str, space: str, version: str,
    change: int, dimension: int, why: str = "",
) -> SnapshotManifest:  # fmt: skip
    """Write ``index`` as the current snapshot under ``root``. ``why`` says in words why it is of its kind.

    Raises:
        DiskFull, StorageError: it could not be written; the old snapshot, if any, is untouched.
    """
    generation = f"{change:012d}-{uuid.uuid4().hex[:8]}"
    folder, beside = root / generation, root / f".{CURRENT}.{generation}"
    try:
        make_folder(folder)
        index.save(folder)
        narrow(folder)
        for name in index.files:
            sync(folder / name)
        sync(folder)
        manifest = SnapshotManifest(
            FORMAT, collection, encoder, fingerprint, space, version, index.kind, dimension, len(index), change,
            generation, why,
            {name: file_checksum(folder / name) for name in index.files},
        )  # fmt: skip
        with open_private(beside, "xb") as stream:
            stream.write(manifest_to_text(manifest).encode())
        sync(beside)
        superseded = _current_generation(root)
        beside.replace(root / CURRENT)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            beside.unlink()
        raise write_error(
            f"the index snapshot could not be written to {root}", error,
            hint="make room or make the folder writable, then: engine index build (nothing but time is lost)",
        ) from error  # fmt: skip
    with contextlib.suppress(OSError):  # it is published: what a power cut may undo now is only a cache
        sync(root)
    _remove_others(root, generation, superseded)
    return manifest


def load(root: Path, manifest: SnapshotManifest, *, thorough: bool = False) -> FirstMomentIndex:
    """The index of a snapshot, after verifying every file's checksum; those that are mapped only if ``thorough``.

    Raises:
        CorruptData: a file is missing or does not match.
    """
    folder = root / manifest.generation
    kind = KINDS.get(manifest.kind)
    if kind is None:
        raise CorruptData(f"the index in {folder} is of kind {manifest.kind!r}, known are {', '.join(KINDS)}")
    if set(manifest.files) != set(kind.files):
        raise CorruptData(f"the index in {folder} must have the files {', '.join(kind.files)}")
    for name, expected in manifest.files.items():
        if name in kind.mapped and not thorough:
            continue
        try:
            actual = file_checksum(folder / name)
        except OSError as error:
            raise CorruptData(f"the index file {folder / name} cannot be read: {error}") from error
        if actual != expected:
            raise CorruptData(f"the index file {folder / name} does not match its checksum")
    try:
        index = kind.load(folder, dimension=manifest.dimension)
    except Exception as error:  # of a mapped file's damaged header NumPy raises EOFError, TokenError, OverflowError …
        raise CorruptData(f"the index in {folder} cannot be read: {error}") from error
    if len(index) != manifest.models:
        raise CorruptData(f"the index in {folder} has {len(index)} models, its manifest {manifest.models}")
    return index


def load_current(root: Path) -> tuple[SnapshotManifest, FirstMomentIndex] | None:
    """The current snapshot, or None if there is none.

    Raises:
        CorruptData: the manifest or a file cannot be trusted.
    """
    manifest = read_manifest(root)
    while manifest is not None:
        try:
            return manifest, load(root, manifest)
        except CorruptData:
            newer = read_manifest(root)
            if newer is None or newer.generation == manifest.generation:
                raise
            manifest = newer  # replaced, and so removed, while it was being read
    return None


def _current_generation(root: Path) -> str | None:
    with contextlib.suppress(CorruptData):
        manifest = read_manifest(root)
        return None if manifest is None else manifest.generation
    return None


def _remove_others(root: Path, generation: str, superseded: str | None) -> None:
    """Remove the generation that this one replaced, and what killed publishers left.

    Whatever else is there may be another process's, about to be published.
    """
    before = time.time() - ABANDONED
    with contextlib.suppress(OSError):  # another process may be cleaning up too
        for path in root.iterdir():
            if generation in path.name or path.name == CURRENT:
                continue
            if path.name == superseded or path.stat().st_mtime < before:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
