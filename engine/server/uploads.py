"""Where a server keeps the uploads that wait: a folder of its own, of bounded size, that no other server removes."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from engine.files import write_error
from engine.server.problems import Refused

BLOCK = 2**20
LOCK = ".lock"


class Uploads:
    """One server's folder among those of all servers of the collection. Threads may share it.

    A folder is made after its lock, which the server holds while it lives and the kernel frees when it is killed: a
    folder whose lock is free is nobody's.
    """

    def __init__(self, shared: Path, most: int) -> None:
        """Remove what killed servers have left in ``shared``; ``most`` bytes may lie in the new folder."""
        self._shared, self._most = shared, most
        self._folder = shared / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._held: FileLock | None = None
        self._bytes = 0
        self._lock = threading.Lock()
        _remove_abandoned(shared)

    def keep(self, stream: IO[bytes], suffix: str) -> Path:
        """Write an upload into the folder.

        Raises:
            Refused: too much waits already.
            DiskFull, StorageError: it cannot be written.
        """
        path = self._folder / f"{uuid.uuid4().hex}{suffix}"
        written = 0
        try:
            self._open()
            with path.open("xb") as kept:
                while block := stream.read(BLOCK):
                    self._reserve(len(block))
                    written += len(block)
                    kept.write(block)
        except BaseException as error:
            path.unlink(missing_ok=True)
            self._release(written)
            if isinstance(error, OSError):
                raise write_error("the upload cannot be kept", error, hint="make room on the server") from error
            raise
        return path

    def remove(self, path: Path) -> None:
        """Remove an upload, if it is still there."""
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            self._release(size)

    def close(self) -> None:
        """Remove the folder."""
        with self._lock:
            if self._held is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                Path(self._held.lock_file).unlink(missing_ok=True)
                self._held.release()
                self._held = None

    def _open(self) -> None:
        with self._lock:
            if self._held is None:
                self._shared.mkdir(parents=True, exist_ok=True)
                held = _to_lock(self._folder)
                held.acquire(timeout=0)
                self._held = held
            self._folder.mkdir(exist_ok=True)

    def _reserve(self, count: int) -> None:
        with self._lock:
            if self._bytes + count > self._most:
                raise Refused(
                    429, "TooManyRequests", f"uploads that wait may have {self._most:,} bytes together",
                    hint="try again when one of them is done", retry_after=10,
                )  # fmt: skip
            self._bytes += count

    def _release(self, count: int) -> None:
        with self._lock:
            self._bytes -= count


def _to_lock(folder: Path) -> FileLock:
    return FileLock(f"{folder}{LOCK}", thread_local=False)


def _remove_abandoned(shared: Path) -> None:
    with suppress(OSError):  # there are none, or they cannot be removed: then they only take room
        for path in shared.iterdir():
            if not path.is_dir():
                if path.suffix != LOCK:
                    path.unlink(missing_ok=True)
                continue
            with suppress(Timeout), _to_lock(path).acquire(timeout=0) as held:
                shutil.rmtree(path, ignore_errors=True)
                Path(held.lock_file).unlink(missing_ok=True)
