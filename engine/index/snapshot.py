"""Snapshots of an index on disk: published atomically, checksummed, and only ever a cache of the database.

A snapshot is a folder ``<root>/<encoder key>/<generation>`` with the index's files and, written last, the file
``<root>/<encoder key>/CURRENT.json`` that names the generation, its files' SHA-256 and the last change it contains.
Publishing writes a new generation, syncs it, and renames the new ``CURRENT.json`` into place; a killed process
leaves either the old snapshot or the new one. Old generations are removed after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import CorruptData, DiskFull, StorageError
from engine.index.base import FirstMomentIndex
from engine.index.flat import FlatIndex

CURRENT = "CURRENT.json"
FORMAT = 1
KINDS: Mapping[str, type[FirstMomentIndex]] = {FlatIndex.kind: FlatIndex}


@dataclass(frozen=True)
class SnapshotManifest:
    """What a snapshot says of itself. ``change`` is the last change it contains."""

    format: int
    collection: str
    encoder: str
    fingerprint: str
    kind: str
    dimension: int
    models: int
    change: int
    generation: str
    files: dict[str, str]


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def publish(
    root: Path, index: FirstMomentIndex, *, collection: str, encoder: str, fingerprint: str, change: int,
    dimension: int,
) -> SnapshotManifest:  # fmt: skip
    """Write ``index`` as the current snapshot under ``root``.

    Raises:
        DiskFull, StorageError: it could not be written; the old snapshot, if any, is untouched.
    """
    generation = f"{change:012d}-{uuid.uuid4().hex[:8]}"
    folder = root / generation
    try:
        folder.mkdir(parents=True)
        names = index.save(folder)
        for name in names:
            _sync(folder / name)
        _sync(folder)
        manifest = SnapshotManifest(
            FORMAT, collection, encoder, fingerprint, index.kind, dimension, len(index), change, generation,
            {name: file_checksum(folder / name) for name in names},
        )  # fmt: skip
        beside = root / f".{CURRENT}.{generation}"
        beside.write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
        _sync(beside)
        beside.replace(root / CURRENT)
        _sync(root)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        kind = DiskFull if error.errno == 28 else StorageError
        raise kind(f"the index snapshot could not be written to {root}: {error}") from error
    _remove_others(root, generation)
    return manifest


def read_manifest(root: Path) -> SnapshotManifest | None:
    """The current snapshot's manifest, or None if there is none.

    Raises:
        CorruptData: the manifest cannot be understood.
    """
    path = root / CURRENT
    try:
        fields: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptData(f"the index manifest {path} cannot be read: {error}") from error
    try:
        manifest = SnapshotManifest(**fields)
    except TypeError as error:
        raise CorruptData(f"the index manifest {path} is not one of this engine's") from error
    if manifest.format != FORMAT or manifest.kind not in KINDS:
        raise CorruptData(f"the index manifest {path} has format {manifest.format}, kind {manifest.kind}")
    if os.sep in manifest.generation or any(os.sep in name for name in manifest.files):
        raise CorruptData(f"the index manifest {path} points outside its folder")
    return manifest


def load(root: Path, manifest: SnapshotManifest) -> FirstMomentIndex:
    """The index of a snapshot, after verifying every file's checksum.

    Raises:
        CorruptData: a file is missing or does not match.
    """
    folder = root / manifest.generation
    for name, expected in manifest.files.items():
        try:
            actual = file_checksum(folder / name)
        except OSError as error:
            raise CorruptData(f"the index file {folder / name} cannot be read: {error}") from error
        if actual != expected:
            raise CorruptData(f"the index file {folder / name} does not match its checksum")
    try:
        index = KINDS[manifest.kind].load(folder, dimension=manifest.dimension)
    except (OSError, ValueError, AssertionError) as error:
        raise CorruptData(f"the index in {folder} cannot be read: {error}") from error
    if len(index) != manifest.models:
        raise CorruptData(f"the index in {folder} has {len(index)} models, its manifest {manifest.models}")
    return index


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_others(root: Path, generation: str) -> None:
    with contextlib.suppress(OSError):  # another process may be cleaning up too
        for path in root.iterdir():
            if path.is_dir() and path.name != generation:
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(f".{CURRENT}.") and not path.name.endswith(generation):
                path.unlink(missing_ok=True)
