"""Writes that fail: full disks, folders that may not be written, locks, a database server that goes away or is killed.

Each fault meets a collection that is at work. Whatever is raised must be one of the engine's own errors, what was
acknowledged must be there afterwards, what was refused must not, and once the fault has passed work must go on with the
``Engine`` that met it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from engine import Engine
from engine.config import Settings
from engine.errors import DatabaseLocked, DiskFull, EngineError, StorageError
from tests.postgres import Server
from tests.torture import content
from tests.torture.audit import audit, differences, unequal_searches
from tests.torture.operations import Entry, State, opened
from tests.torture.tally import Say, Tally
from tests.torture.truth import read_truth

DURABLE = "fsync = on\nfull_page_writes = on\nsynchronous_commit = on\njit = off\n"
PATIENCE = 30.0
"""Seconds in which work must go on once a server is back."""


class Client:
    """One ``Engine`` at work, and what it was told: ``state`` was acknowledged, ``doubts`` raised an error.

    Where it is ``uncertain``, a write that raised may have been committed, as when a server dies over a commit.
    """

    def __init__(self, eng: Engine, url: str, tally: Tally, what: str, *, uncertain: bool) -> None:
        self.uncertain = uncertain
        self.eng = eng
        self.url = url
        self.tally = tally
        self.what = what
        self.state: State = {}
        self.doubts: State = {}
        self.made = 0

    def tried(self, call: Callable[[], object], *allowed: type[EngineError]) -> EngineError | None:
        """Call; the error, if it is one of those that this fault may raise. Others are noted."""
        try:
            call()
        except EngineError as error:
            self._count("typed errors")
            if not isinstance(error, allowed):
                self.tally.wrong.append(f"{self.what}: {type(error).__name__}: {error}")
            if not error.hint:
                self.tally.wrong.append(f"{self.what}: {type(error).__name__} does not say what to do next")
            return error
        except Exception as error:
            self.tally.untyped.append(f"{self.what}: {type(error).__name__}: {error}")
        return None

    def put(self, *allowed: type[EngineError], rows: int = 40) -> EngineError | None:
        """Ingest a new model."""
        self.made += 1
        name, seed = f"m{self.made}", 30_000 + self.made
        entry = Entry(("features", seed, rows))
        self.doubts[name] = entry
        error = self.tried(lambda: self.eng.ingest(content.features(seed, rows), name=name), *allowed)
        if error is None:
            self.state[name] = entry
            del self.doubts[name]
            self._count("writes")
        return error

    def again(self, *allowed: type[EngineError]) -> EngineError | None:
        """Ingest another content of a known model."""
        self.made += 1
        name, seed = next(iter(self.state)), 30_000 + self.made
        error = self.tried(lambda: self.eng.ingest(content.features(seed), name=name), *allowed)
        if error is None:
            self.state[name] = Entry(("features", seed, 40))
        return error

    def remove(self, *allowed: type[EngineError]) -> EngineError | None:
        """Remove the oldest model."""
        name = next(iter(self.state))
        error = self.tried(lambda: self.eng.remove(name), *allowed)
        if error is None:
            del self.state[name]
        elif self.uncertain:
            self.doubts[name] = self.state.pop(name)
        return error

    def search(self, *allowed: type[EngineError], equal: bool = True) -> None:
        """Search by the first moment and by density; with ``equal`` the answers are compared with brute force."""
        for method in ("first_moment", "gaussian_density", "blend"):
            self.tried(lambda method=method: self.eng.search_vectors(content.query(self.made), 5, method), *allowed)  # type: ignore[misc]
        if equal:
            self.tried(lambda: self.tally.wrong.extend(
                f"{self.what}: {one}" for one in unequal_searches(self.eng, read_truth(self.url), self.made)
            ))  # fmt: skip

    def judge(self) -> None:
        """Compare all that is stored with what was acknowledged, and audit it with an engine of its own."""
        truth = read_truth(self.url)
        state = dict(self.state)
        if self.uncertain:
            state |= {name: entry for name, entry in self.doubts.items() if name in truth.rows}
        self.tally.losses += [f"{self.what}: {one}" for one in differences(truth, state, 0)]
        _, found = audit(self.url, self.eng.settings, [state], 1, publish=True)
        self.tally.losses += [f"{self.what}, opened again: {one}" for one in found.losses]
        self.tally.wrong += [f"{self.what}, opened again: {one}" for one in found.wrong]
        self.tally.untyped += [f"{self.what}, opened again: {one}" for one in found.untyped]

    def expect(self, error: EngineError | None, kind: type[EngineError]) -> None:
        """Note when the fault was not met: then nothing was shown."""
        if not isinstance(error, kind):
            self.tally.wrong.append(f"{self.what}: the fault was not met, {kind.__name__} expected, got {error!r}")

    def _count(self, what: str) -> None:
        self.tally.done[what] = self.tally.done.get(what, 0) + 1


@contextlib.contextmanager
def working(
    url: str, settings: Settings, tally: Tally, what: str, models: int = 6, *, uncertain: bool = False
) -> Iterator[Client]:
    """A collection with a few models in it, at work."""
    with opened(url, settings, create=True) as eng:
        client = Client(eng, url, tally, what, uncertain=uncertain)
        for _ in range(models):
            client.put()
        client.search()
        yield client
    tally.done["faults"] = tally.done.get("faults", 0) + 1


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of that size at ``folder``; what is given makes it another size."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)

    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    try:
        yield lambda other: mount("-o", f"remount,size={other}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Whether a small file system can be mounted here: that needs root, and a container that lets it."""
    try:
        with small_disk(folder / "probe", "64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


# --- full disks


def full_database(folder: Path, tally: Tally) -> None:
    """The database's disk fills while models are put, replaced and removed; then there is room again."""
    settings = Settings(index_folder=str(folder / "index"))
    with (
        small_disk(folder / "small", "4800k") as resize,
        working(f"sqlite:///{folder / 'small' / 'zoo.db'}", settings, tally, "the database's disk is full") as client,
    ):
        errors = [client.put(DiskFull, rows=300) for _ in range(120)]
        client.expect(next((one for one in errors if one), None), DiskFull)
        for _ in range(5):
            client.again(DiskFull)
            client.remove(DiskFull)
            client.search()
        client.tried(client.eng.build_index, DiskFull)
        resize("64m")
        for call in (client.put, client.again, client.remove):
            call()
        client.tried(client.eng.build_index)
        client.judge()


def full_index(folder: Path, tally: Tally) -> None:
    """The index folder's disk is full: nothing but snapshots cannot be written."""
    place = folder / "index"
    with small_disk(place, "256k") as resize:
        filler = place / "filler"
        url, settings = f"sqlite:///{folder / 'zoo.db'}", Settings(index_folder=str(place))
        with working(url, settings, tally, "the index's disk is full") as client:
            _fill(filler)
            for _ in range(6):
                client.put()
            client.remove()
            client.search()
            client.expect(client.tried(client.eng.build_index, DiskFull), DiskFull)
            client.search()
            client.eng.close()
            client.eng = opened(url, settings)
            client.search()
            resize("16m")
            filler.unlink()
            client.put()
            client.tried(client.eng.build_index)
            client.judge()
            client.eng.close()


def full_factors(folder: Path, tally: Tally) -> None:
    """The files of factors and samples cannot grow: that costs speed, and no search may notice."""
    url, settings = f"sqlite:///{folder / 'zoo.db'}", Settings(index_folder=str(folder / "index"))
    with opened(url, settings, create=True) as eng:
        beside = [
            eng.services.views.beside(content.ProjectionEncoder().identity, what) for what in ("factors-0.8", "samples")
        ]
    with small_disk(beside[0], "16k"), small_disk(beside[1], "16k"):
        for place in beside:
            _fill(place / "filler")
        with working(url, settings, tally, "the factor files' disk is full", models=12) as client:
            client.tried(client.eng.build_index)
            client.search()
            client.eng.services.statistics.stores.flush()
            for place in beside:
                (place / "filler").unlink()
            client.put()
            client.tried(client.eng.build_index)
            client.search()
            client.judge()


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


def limited_file(folder: Path, tally: Tally) -> None:
    """No file may grow beyond a limit, as with a quota; writes fail in the middle of a file."""
    url, settings = f"sqlite:///{folder / 'zoo.db'}", Settings(index_folder=str(folder / "index"))
    with working(url, settings, tally, "a file-size limit") as client:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        largest = max(path.stat().st_size for path in folder.glob("zoo.db*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 50_000, before[1]))
        try:
            errors = [client.put(StorageError, rows=300) for _ in range(60)]
            client.expect(next((one for one in errors if one), None), StorageError)
            client.remove(StorageError)
            client.tried(client.eng.build_index, StorageError)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        client.search()
        for call in (client.put, client.again, client.remove):
            call()
        client.tried(client.eng.build_index)
        client.judge()


# --- folders that may not be written


@contextlib.contextmanager
def ordinary_user() -> Iterator[Path]:
    """A folder, while this process has no more rights than its owner."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    was = os.geteuid()
    if was == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700)
        os.seteuid(was)
        shutil.rmtree(folder)


def read_only(_: Path, tally: Tally) -> None:
    """The database's file and folder, then the index's folder, lose their write permission, and get it back."""
    with ordinary_user() as folder:
        data, index = folder / "data", folder / "index"
        for place in (data, index):
            place.mkdir()
        url, settings = f"sqlite:///{data / 'zoo.db'}", Settings(index_folder=str(index))
        with working(url, settings, tally, "a folder made read-only") as client:
            with _unwritable(index):
                client.put()
                client.search()
                client.expect(client.tried(client.eng.build_index, StorageError), StorageError)
            client.tried(client.eng.build_index)
            client.eng.close()
            client.eng = opened(url, settings)
            with _unwritable(data):
                client.put(StorageError)
                client.search(StorageError, equal=False)
                client.tried(lambda: opened(url, settings).close(), StorageError)
                for path in data.iterdir():
                    path.chmod(0o400)
                client.eng.services.database.close()  # the next connection must open the file, and may not write it
                client.expect(client.put(StorageError), StorageError)
                client.expect(client.remove(StorageError), StorageError)
            for call in (client.put, client.again, client.remove):
                call()
            client.search()
            client.judge()
            client.eng.close()


@contextlib.contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            path.chmod(0o500)
    try:
        yield
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700)


# --- locks


def locked(folder: Path, tally: Tally) -> None:
    """Another connection holds the write lock for longer than ``busy_timeout``."""
    settings = Settings(index_folder=str(folder / "index"), busy_timeout=0.3)
    path = folder / "zoo.db"
    with (
        working(f"sqlite:///{path}", settings, tally, "a locked database") as client,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        for _ in range(3):
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            for call in (client.put, client.again, client.remove):
                client.expect(call(DatabaseLocked), DatabaseLocked)
            if time.monotonic() - started > 10 * settings.busy_timeout:
                tally.wrong.append(f"a locked database: it took {time.monotonic() - started:.1f} s to say so")
            client.search()
            other.execute("ROLLBACK")
            for call in (client.put, client.again, client.remove):
                call()
        client.judge()


# --- a server that goes away


def gone_and_back(server: Server, folder: Path, tally: Tally) -> None:
    """The server is stopped in mid-flight and started again, three times."""

    def stop_and_start() -> None:
        server.stop()
        time.sleep(0.5)
        server.start()

    _disturbed(server, folder, tally, "the server went away", stop_and_start)


def server_killed(server: Server, folder: Path, tally: Tally) -> None:
    """Every process of the server is killed in mid-flight (SIGKILL), and it starts again from its log, three times."""

    def kill_and_start() -> None:
        first = psutil.Process(int((server.folder / "postmaster.pid").read_text().split()[0]))
        processes = [first, *first.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=PATIENCE)
        server.start()

    _disturbed(server, folder, tally, "the server was killed", kill_and_start)


def _disturbed(server: Server, folder: Path, tally: Tally, what: str, disturb: Callable[[], None]) -> None:
    """Threads write and search by one ``Engine`` while the server is disturbed; they go on by themselves."""
    settings = Settings(index_folder=str(folder / "index"), refresh_interval=0.2)
    with working(server.create(), settings, tally, what, uncertain=True) as client:
        ended = threading.Event()
        written = [0]

        def write() -> None:
            while not ended.is_set():
                if client.put(StorageError) is None:
                    written[0] += 1
                else:
                    time.sleep(0.02)
                if len(client.state) > 40:
                    client.remove(StorageError)

        def search() -> None:
            while not ended.is_set():
                client.search(StorageError, equal=False)
                time.sleep(0.02)

        threads = [threading.Thread(target=write), threading.Thread(target=search)]
        for thread in threads:
            thread.start()
        for number in range(3):
            time.sleep(0.4)
            disturb()
            before, deadline = written[0], time.monotonic() + PATIENCE
            while written[0] < before + 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            if written[0] < before + 3:
                tally.wrong.append(f"{what}, time {number + 1}: the engine did not find it again in {PATIENCE:.0f} s")
        ended.set()
        for thread in threads:
            thread.join()
        client.search()
        client.judge()


# --- all of them

ON_SMALL_DISKS = (full_database, full_index, full_factors)
ANYWHERE = (limited_file, read_only, locked)
OF_A_SERVER = (gone_and_back, server_killed)


def faults(folder: Path, seed: int, say: Say) -> Tally:
    """Every fault, once."""
    tally = Tally("faults", {"faults": 0})
    np.random.default_rng(seed)
    chosen = ANYWHERE
    if can_mount(folder):
        chosen = (*ON_SMALL_DISKS, *ANYWHERE)
    else:
        say("faults: small disks cannot be mounted here, so that full ones are left out; a file-size limit stands in")
    for fault in chosen:
        place = folder / fault.__name__
        place.mkdir()
        _guarded(lambda fault=fault, place=place: fault(place, tally), fault.__name__, tally)  # type: ignore[misc]
        say(f"faults: {fault.__name__}")
    server = Server(Path(tempfile.mkdtemp(prefix="engine-durable-")), DURABLE)
    try:
        for fault in OF_A_SERVER:
            place = folder / fault.__name__
            place.mkdir()
            _guarded(lambda fault=fault, place=place: fault(server, place, tally), fault.__name__, tally)  # type: ignore[misc]
            say(f"faults: {fault.__name__}")
    finally:
        server.remove()
    return tally


def _guarded(call: Callable[[], None], name: str, tally: Tally) -> None:
    try:
        call()
    except Exception as error:
        tally.untyped.append(f"{name}: {type(error).__name__}: {error}")
