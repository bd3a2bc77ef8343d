"""Models taken in from uploads: one after another, beside the searches, with their progress, and to be cancelled."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from engine import Engine
from engine.errors import EngineError, IngestError
from engine.samples.labels import name_to_label
from engine.server.limits import Limits
from engine.server.places import without_paths
from engine.server.problems import Refused, error_to_problem, noted, problem
from engine.server.schemas import Ingest
from engine.server.uploads import Uploads

log = logging.getLogger("engine.server")
SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip", ".npz", ".npy")
"""What may be uploaded: pictures in an archive, or features or moments. Decoders and manifests name files and code."""
XZ = b"\xfd7zXZ\x00"
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
REMEMBERED = 200
"""Jobs that have ended and can still be asked for."""


class Stopped(EngineError):
    """Somebody cancelled the job, or the server is closing."""


@dataclass
class Job:
    """An upload on its way to be a model; ``total`` is 0 while it is not known."""

    id: str
    details: Ingest
    path: Path
    file: str
    created_at: datetime
    state: str = WAITING
    done: int = 0
    total: int = 0
    quarantined: int = 0
    problem: dict[str, Any] | None = None
    model: str | None = None
    ended_at: datetime | None = None
    stopped: bool = False
    work: Future[None] | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``schemas.Job``."""
        names = ("id", "state", "done", "total", "quarantined", "problem", "model", "created_at", "ended_at")
        return {"name": self.details.name, **{name: getattr(self, name) for name in names}}


class Jobs:
    """The jobs of one server. Threads may share it."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine, self._limits = engine, limits
        self._uploads = Uploads(engine.index_folder / "uploads", limits.uploads_bytes)
        self._bounds = limits.of_uploads()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "ingest")

    def submit(self, details: Ingest, file_name: str, stream: IO[bytes]) -> Job:
        """Take an upload in. Its name's ending says what it is; the name is recorded as the model's source.

        Raises:
            Refused: it is of no kind that is taken, or too many wait.
            EngineError: as ``Engine.check_upload``, before it is kept.
            DiskFull, StorageError: it cannot be kept.
        """
        suffix = next((one for one in SUFFIXES if file_name.lower().endswith(one)), None)
        if suffix is None:
            raise Refused(
                422, "InvalidInput", f"uploads end in {', '.join(SUFFIXES)}, got {file_name!r:.80}",
                hint="decoders, manifests and code are ingested on the server itself: engine ingest",
            )  # fmt: skip
        self._engine.check_upload(f"upload{suffix}", **_to_arguments(details))
        if stream.read(len(XZ)) == XZ:
            raise Refused(
                422, "InvalidInput", "an archive that is uploaded is .zip, .tar or .tar.gz, this one is an .xz",
                hint="unpacking .xz takes as much memory as the file says: compress it with gzip",
            )  # fmt: skip
        stream.seek(0)
        path = self._uploads.keep(stream, suffix)
        job = Job(path.name.partition(".")[0], details, path, _base_name(file_name), _now())
        with self._lock:
            waiting = sum(one.state == WAITING for one in self._jobs.values())
            if waiting < self._limits.jobs:
                self._jobs[job.id] = job
        if job.id not in self._jobs:
            self._uploads.remove(path)
            raise Refused(
                429, "TooManyRequests", f"{self._limits.jobs} uploads wait already: that is the limit",
                hint="try again when one of them is done", retry_after=10,
            )  # fmt: skip
        job.work = self._worker.submit(self._run, job)
        return job

    def get(self, job_id: str) -> Job:
        """The job of that id.

        Raises:
            Refused: there is none.
        """
        found = self._jobs.get(job_id)
        if found is None:
            raise Refused(404, "NotFound", f"there is no job {job_id!r:.60}", hint="it may have ended long ago")
        return found

    def all(self) -> list[Job]:
        """Every job that is remembered, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def cancel(self, job_id: str) -> Job | None:
        """Stop a job; one that has ended is forgotten, which gives None.

        Raises:
            Refused: there is none.
        """
        job = self.get(job_id)
        with self._lock:
            if job.ended_at is not None:
                self._jobs.pop(job_id, None)
                return None
            job.stopped = True
            waits = job.state == WAITING
        if waits:
            self._end(job, CANCELLED)
        return job

    def close(self) -> None:
        """Finish what was accepted, as far as ``Limits.grace`` allows; then cancel what waits, and stop what runs.

        What was stopped goes on from its last checkpoint when the same file is uploaded again.
        """
        wait([job.work for job in self.all() if job.work is not None], timeout=self._limits.grace)
        for job in self.all():
            job.stopped = True
        self._worker.shutdown(wait=True, cancel_futures=True)
        for job in self.all():
            if job.ended_at is None:
                self._end(job, CANCELLED)
        self._uploads.close()

    def _run(self, job: Job) -> None:
        with self._lock:
            if job.ended_at is not None or job.stopped:
                return
            job.state = RUNNING
        most = self._limits.upload_seconds
        until = time.monotonic() + most

        def told(done: int, total: int | None, quarantined: int) -> None:
            job.done, job.total, job.quarantined = done, total or 0, quarantined
            if job.stopped:
                raise Stopped("it was cancelled")
            if time.monotonic() > until:
                raise IngestError(
                    f"ingesting an upload may take {most} seconds; {done} of {total or 'its'} samples were done",
                    hint="upload the same file again: it goes on from its last checkpoint",
                )

        try:
            model = self._engine.ingest(
                str(job.path), upload=job.file, bounds=self._bounds, on_progress=told, **_to_arguments(job.details)
            )
        except Stopped:
            self._end(job, CANCELLED)
        except EngineError as error:
            noted(error)
            said, places = error_to_problem(error, whole=True), self._engine.places
            plain: dict[str, Any] = {key: _plain(said[key], job, places) for key in ("detail", "hint") if key in said}
            self._end(job, FAILED, {**said, **plain})
        except Exception as error:
            log.exception("unexpected %s", type(error).__name__, exc_info=error)
            said = problem(500, "Unexpected", f"unexpected {type(error).__name__}", hint="the server's log says more")
            self._end(job, FAILED, said)
        else:
            job.model = model.name
            self._end(job, DONE)

    def _end(self, job: Job, state: str, said: dict[str, Any] | None = None) -> None:
        self._uploads.remove(job.path)
        with self._lock:
            job.state, job.problem, job.ended_at = state, said, _now()
            ended = [one.id for one in self._jobs.values() if one.ended_at is not None]
            for job_id in ended[:-REMEMBERED]:
                del self._jobs[job_id]


def _to_arguments(details: Ingest) -> dict[str, Any]:
    """Of ``Engine.ingest``."""
    given = details.model_dump(exclude_none=True)
    return {**given, "metadata": given.get("metadata", {})}


def _plain(message: str, job: Job, places: Sequence[str]) -> str:
    """A message without where the upload, or anything else, lies on the server."""
    for name in (f"the archive {job.path}", str(job.path), job.path.name):
        message = message.replace(name, "the upload")
    return without_paths(message, places)


def _base_name(file_name: str) -> str:
    """An upload's name without folders, which some browsers send, and printable."""
    return name_to_label(file_name.replace("\\", "/").rpartition("/")[2])[:255]


def _now() -> datetime:
    return datetime.now(timezone.utc)
