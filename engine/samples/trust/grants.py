"""The user's own list of generators that may be drawn from on this machine: a file outside every collection.

One JSON object a line, appended under a lock. A line that cannot be read grants nothing. The file is believed only if
it is the user's (or root's) and nobody else may write to it.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine.errors import StorageError
from engine.files import make_folder, open_private, write_error

log = logging.getLogger("engine.trust")
CODE, FILES = "runs code", "opens files"
"""What a generator may do."""
PATIENCE = 10.0
"""Seconds to wait for another process that writes to the file."""
HINT = "generators are drawn from only with --trust meanwhile; ENGINE_TRUST_FILE names another file"


@dataclass(frozen=True)
class Grant:
    """That a generator may be drawn from.

    Attributes:
        record: SHA-256 of its record.
        digest: SHA-256 of its record and of the files that this names.
        what: ``runs code`` or ``opens files``.
        granted_at: when, ISO 8601.
        model, collection: where it stood then; a comment.
    """

    record: str
    digest: str
    what: str
    granted_at: str
    model: str
    collection: str


NAMES = tuple(field.name for field in fields(Grant))


class Grants:
    """The file. Threads and processes may share it."""

    def __init__(self, path: Path | None) -> None:
        """Name the file; None where there can be none, which grants nothing."""
        self.path = path
        self._read: tuple[tuple[int, ...], tuple[Grant, ...]] | None = None

    def all(self) -> tuple[Grant, ...]:
        """Every grant, the oldest first; none where there is no file, or none that is believed."""
        if self.path is None:
            return ()
        try:
            with self.path.open("rb") as stream:
                said = os.fstat(stream.fileno())
                as_of = (said.st_ino, said.st_size, said.st_mtime_ns, said.st_mode, said.st_uid)
                if self._read is None or self._read[0] != as_of:
                    why = _disbelief(said)
                    if why is not None:
                        log.warning("%s %s: nothing in it is trusted", self.path, why)
                    self._read = (as_of, () if why is not None else _lines_to_grants(stream.read()))
                return self._read[1]
        except FileNotFoundError:
            return ()
        except OSError as error:
            log.warning("what is trusted cannot be read: %s", error)
            return ()

    def of(self, record: str) -> list[Grant]:
        """Those of a record, whatever its files held then."""
        return [grant for grant in self.all() if grant.record == record]

    def add(self, grant: Grant) -> None:
        """Record one, unless it is there.

        Raises:
            StorageError: the file cannot be written, or is not believed.
        """
        if self._has(grant):
            return
        if self.path is None:
            raise StorageError("there is no home folder to record it in", hint="name a file: ENGINE_TRUST_FILE")
        with _Lock(self.path):
            if self._has(grant):  # another process was quicker
                return
            with open_private(self.path, "ab+") as stream:
                why = _disbelief(os.fstat(stream.fileno()))
                if why is not None:
                    raise StorageError(f"{self.path} {why}", hint=f"make it yours: chmod 600 {self.path}")
                length = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, length - 1))
                torn = length and stream.read(1) != b"\n"  # a line that was cut off must not take this one with it
                stream.write(b"\n" * bool(torn) + json.dumps(asdict(grant)).encode() + b"\n")

    def revoke(self, records: Collection[str]) -> int:
        """Forget all grants of some records; how many there were.

        Raises:
            StorageError: the file cannot be written.
        """
        if self.path is None or not any(grant.record in records for grant in self.all()):
            return 0
        with _Lock(self.path):
            before = self.all()
            kept = [grant for grant in before if grant.record not in records]
            beside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}")
            try:
                with open_private(beside, "xb") as stream:
                    stream.writelines(json.dumps(asdict(grant)).encode() + b"\n" for grant in kept)
                beside.replace(self.path)
            finally:
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
        return len(before) - len(kept)

    def _has(self, grant: Grant) -> bool:
        return any((one.digest, one.what) == (grant.digest, grant.what) for one in self.all())


class _Lock:
    """One writer at a time; what goes wrong within becomes ours."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        self._path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"), timeout=PATIENCE, mode=0o600)

    def __enter__(self) -> None:
        from filelock import Timeout

        try:
            make_folder(self._path.parent)
            self._lock.acquire()
        except Timeout as error:
            raise StorageError(f"another process holds {self._lock.lock_file}", hint="try again") from error
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this file system
            raise self._ours(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._lock.release()
        if isinstance(error, OSError):
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> StorageError:
        wrapped = error if isinstance(error, OSError) else OSError(str(error))
        return write_error(f"{self._path} cannot be written", wrapped, hint=HINT)


def _disbelief(said: os.stat_result) -> str | None:
    """Why a file is not believed, or None."""
    if not stat.S_ISREG(said.st_mode):
        return "is not a regular file"
    if os.name != "posix":
        return None
    if said.st_uid not in (0, os.geteuid()):
        return "belongs to somebody else"
    return "can be written by others" if said.st_mode & 0o022 else None


def _lines_to_grants(data: bytes) -> tuple[Grant, ...]:
    found = []
    for line in data.splitlines():
        try:
            said = json.loads(line)
            values = [said[name] for name in NAMES]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if all(isinstance(value, str) for value in values):
            found.append(Grant(*values))
    return tuple(found)
