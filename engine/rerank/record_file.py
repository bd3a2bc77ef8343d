"""A file of factors, one record a model: where a model's record lies, how long it is, and what it must hash to.

A folder holds *segments*, ``<name>.factors`` files of records one after another that are never changed once written,
and the *directory*, ``FACTORS``: one line of JSON (the key, the rotation's and the segments' names), then a table of
(model id, change, offset, size, segment, SHA-256 of the record), then the SHA-256 of all before it. Records begin at
multiples of a cache line, and their lengths are multiples of one: what is in them is their makers' business, and
records of several kinds can lie in one file.

Publishing writes a new segment, syncs it, and renames a new directory into place: a killed process leaves the old
directory or the new one, and a segment that no directory names is removed later. Who publishes holds a lock from
reading the old directory on, or else two processes could each name segments that the other has removed. Nothing read
is believed: not the directory without its checksum, not a record without its own, and that covers the key, the model
and the change, so that a record can never answer for another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptData, StorageError
from engine.files import file_mode, make_folder, move_into_place, open_private, write_error

Records = NDArray[np.uint8]
DIRECTORY, COUNTS, LOCK = "FACTORS", "COUNTS", "LOCK"
PATIENCE = 60.0
"""Seconds to wait for another process that publishes."""
FORMAT = 5
SEGMENT, ROTATION = ".factors", ".rotation"
ABANDONED = 3600.0
"""Seconds after which a file that no directory names is taken to have been left by a killed process."""
LINE = 64
"""Bytes that records' lengths are multiples of: a cache line."""
ENTRY = np.dtype([
    ("id", "<i8"), ("change", "<i8"), ("offset", "<i8"), ("size", "<i8"), ("segment", "<i4"), ("digest", "u1", 32),
])  # fmt: skip


@dataclass(frozen=True)
class RecordKey:
    """What factors depend on beside the statistics: another key is another file. All but the dimension are names.

    ``shrinkage`` is the version and weight of what covariances are drawn toward, ``transform`` a learned map's, each
    empty for none; ``epsilon`` is for whoever overrides the stored one. ``kind`` says what the records are.
    """

    collection: str
    encoder: str
    dimension: int
    epsilon: str
    shrinkage: str
    transform: str
    kind: str = "factors"


@dataclass(frozen=True, eq=False)
class Directory:
    """What was published: ``rotation`` ``(d, d)`` float32, ``segments`` by name, and ``entries`` ``(n,)``."""

    key: RecordKey
    rotation: NDArray[np.float32]
    segments: tuple[str, ...]
    entries: NDArray[Any]


def rotation_digest(rotation: NDArray[np.float32]) -> str:
    """SHA-256 of a shared basis, hex."""
    return hashlib.sha256(np.ascontiguousarray(rotation, "<f4").tobytes()).hexdigest()


def record_digest(key: RecordKey, basis: str, model_id: int, change: int, record: Records) -> bytes:
    """SHA-256 of a record and of everything that says what it is; ``basis`` is the rotation's digest."""
    said = json.dumps([asdict(key), basis, model_id, change], sort_keys=True)
    return hashlib.sha256(said.encode() + record.tobytes()).digest()


def read_directory(root: Path, key: RecordKey) -> Directory | None:
    """The published directory, or None where there is none, or one of another key.

    Raises:
        CorruptData: it is damaged, or was written by another version of the engine.
    """
    found = _read(root)
    return None if found is None or found[0]["key"] != asdict(key) else _directory(root, *found)


def read_any_directory(root: Path) -> Directory | None:
    """The published directory, whatever its key; None where there is none.

    Raises:
        CorruptData: as ``read_directory``.
    """
    found = _read(root)
    return None if found is None else _directory(root, *found)


def damaged_records(root: Path, directory: Directory) -> Iterator[int]:
    """The ids of models whose records do not match their checksums. Reads all of them, one after another."""
    basis = rotation_digest(directory.rotation)
    maps = {name: map_segment(root, name) for name in directory.segments}
    for entry in directory.entries:
        mapped = maps[directory.segments[entry["segment"]]] if entry["segment"] < len(directory.segments) else None
        start, size, model_id = int(entry["offset"]), int(entry["size"]), int(entry["id"])
        record = None if mapped is None or start < 0 else mapped[start : start + size]
        if record is None or len(record) != size:
            yield model_id
            continue
        digest = record_digest(directory.key, basis, model_id, int(entry["change"]), record)
        if digest != entry["digest"].tobytes():
            yield model_id


def _directory(root: Path, said: dict[str, Any], entries: NDArray[Any]) -> Directory:
    key = RecordKey(**said["key"])
    try:
        basis = (root / said["rotation"]).read_bytes()
    except OSError as error:
        raise CorruptData(f"the rotation of the factors in {root} cannot be read: {error}") from error
    if len(basis) != 4 * key.dimension**2 or hashlib.sha256(basis).hexdigest() + ROTATION != said["rotation"]:
        raise CorruptData(f"the rotation of the factors in {root} does not match its checksum")
    rotation = np.frombuffer(basis, "<f4").reshape(key.dimension, -1)
    return Directory(key, rotation, tuple(said["segments"]), entries)


def read_summary(root: Path) -> dict[str, int] | None:
    """How many ``models`` a file has records of, and their ``bytes``, whatever its key; None where there is none.

    Raises:
        CorruptData: as ``read_directory``.
    """
    found = _read(root)
    return None if found is None else {"models": len(found[1]), "bytes": int(found[1]["size"].sum())}


def _read(root: Path) -> tuple[dict[str, Any], NDArray[Any]] | None:
    path = root / DIRECTORY
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptData(f"the factor directory {path} cannot be read: {error}") from error
    body, expected = data[:-32], data[-32:]
    if len(data) <= 32 or hashlib.sha256(body).digest() != expected:
        raise CorruptData(f"the factor directory {path} does not match its checksum")
    line, _, table = body.partition(b"\n")
    try:
        said = json.loads(line)
        if said["format"] != FORMAT:
            raise CorruptData(f"the factor directory {path} has format {said['format']}, this engine reads {FORMAT}")
        entries = np.frombuffer(table, ENTRY)
        _check_names(said, entries)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptData(f"the factor directory {path} is not one of this engine's: {error}") from error
    return said, entries


def _check_names(said: dict[str, Any], entries: NDArray[Any]) -> None:
    """Raises: TypeError, ValueError: a name points elsewhere, an entry is in no segment, or the key is none."""
    RecordKey(**said["key"])
    dimension, segments = said["key"]["dimension"], said["segments"]
    if not isinstance(dimension, int) or not isinstance(segments, list):
        raise ValueError("its key or its list of segments is none")
    for name in (said["rotation"], *segments):
        if not isinstance(name, str) or not name.isprintable() or any(character in name for character in "/\\"):
            raise ValueError(f"it names the file {name!r}")
    if len(entries) and not 0 <= entries["segment"].min() <= entries["segment"].max() < len(segments):
        raise ValueError("a record is in a segment that it does not name")


def write_segment(root: Path, records: Iterator[Records]) -> str:
    """Write records one after another as a new, synced segment; its name.

    Raises:
        DiskFull, StorageError: it could not be written; nothing is left.
    """
    name = uuid.uuid4().hex + SEGMENT
    with _our_errors(root, name):
        make_folder(root)
        with open_private(root / name, "wb") as stream:
            for record in records:
                stream.write(record.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
    return name


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Be the only one, of all processes, that publishes in a folder; it is made if it is not there.

    Raises:
        DiskFull, StorageError: the lock cannot be made, or another process holds it for too long.
    """
    from filelock import FileLock, Timeout

    with _our_errors(root, ""):
        make_folder(root)
        lock = FileLock(root / LOCK, timeout=PATIENCE, mode=file_mode(root))
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageError(
                f"another process has been writing factors to {root} for {PATIENCE:.0f} s",
                hint="searches work without the file, slower; is that process stopped?",
            ) from error
    try:
        yield
    finally:
        lock.release()


def is_there(root: Path, name: str) -> bool:
    """Whether a segment still has its name: one that is mapped may have been removed."""
    return os.path.isfile(root / name)


def publish(root: Path, directory: Directory) -> None:
    """Make ``directory`` the current one, and remove what it does not name and no one can still be writing.

    Raises:
        DiskFull, StorageError: it could not be written; the old one, if any, stands.
    """
    rotation = rotation_digest(directory.rotation) + ROTATION
    said = {
        "format": FORMAT,
        "key": asdict(directory.key),
        "rotation": rotation,
        "segments": list(directory.segments),
    }
    body = json.dumps(said).encode() + b"\n" + directory.entries.tobytes()
    _write_beside(root, rotation, np.ascontiguousarray(directory.rotation, "<f4").tobytes())
    superseded = _named(root)
    _write_beside(root, DIRECTORY, body + hashlib.sha256(body).digest())
    kept = {DIRECTORY, rotation, *directory.segments}
    before = time.time() - ABANDONED
    with contextlib.suppress(OSError):
        for path in root.iterdir():
            ours = path.suffix in (SEGMENT, ROTATION, ".beside")
            if ours and path.name not in kept and (path.name in superseded or path.stat().st_mtime < before):
                path.unlink(missing_ok=True)  # readers that have it mapped keep it until they let go


def map_segment(root: Path, name: str) -> Records | None:
    """A segment's bytes, mapped read-only, or None where it is gone or cannot be read."""
    try:
        size = (root / name).stat().st_size
        return np.memmap(root / name, np.uint8, "r", shape=(size,)).view(np.ndarray) if size else None
    except (OSError, ValueError):
        return None


def read_counts(root: Path) -> dict[str, int]:
    """How records were found here by all processes that said so; empty where none did."""
    try:
        said = json.loads((root / COUNTS).read_bytes())
        return {str(name): int(value) for name, value in said.items()}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return {}


def add_counts(root: Path, counts: Mapping[str, int]) -> None:
    """Add to them. Two processes that end at once may lose one another's: nothing depends on it.

    Raises:
        DiskFull, StorageError: they could not be written.
    """
    before = read_counts(root)
    total = {name: before.get(name, 0) + value for name, value in counts.items()}
    _write_beside(root, COUNTS, json.dumps(total).encode())


def _named(root: Path) -> set[str]:
    """The files that the current directory names, whatever its key; empty where it cannot be read."""
    try:
        said = json.loads((root / DIRECTORY).read_bytes().partition(b"\n")[0])
        return {str(said["rotation"]), *map(str, said["segments"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _write_beside(root: Path, name: str, data: bytes) -> None:
    beside = root / f"{name}.{uuid.uuid4().hex[:8]}.beside"
    with _our_errors(root, beside.name):
        make_folder(root)
        with open_private(beside, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        move_into_place(beside, root / name)


@contextlib.contextmanager
def _our_errors(root: Path, unfinished: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if unfinished:
            with contextlib.suppress(OSError):
                (root / unfinished).unlink(missing_ok=True)
        raise write_error(
            f"the factors could not be written to {root}", error,
            hint="make room or make the folder writable; searches work without the file, slower",
        ) from error  # fmt: skip
