"""Opening, creating and refusing databases; what a lock, a full disk or a kill leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from engine import Engine
from engine.config import Settings
from engine.errors import (
    CorruptData,
    DatabaseLocked,
    DatabaseNotFound,
    DatabaseOutdated,
    DatabaseTooNew,
    DiskFull,
    EngineError,
    InvalidInput,
    StorageError,
)
from engine.storage import Catalog, Database, migrate
from engine.storage.tables import Base

sqlite_file = pytest.mark.backends("sqlite")
"""Of tests about the file that SQLite keeps a collection in."""
ROOT = Path(__file__).resolve().parents[2]


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def raw(url: str) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(file_of(url), isolation_level=None))


# --- addresses


@pytest.mark.parametrize(
    "bad",
    [
        "", "zoo.db", "mysql://u@h/db", "sqlite://", "sqlite:///:memory:", "postgres", "sqlite+nothing:///zoo.db",
        "postgresql://u@h:port/zoo", None,
    ],
)  # fmt: skip
def test_addresses_that_are_refused(bad: str | None) -> None:
    with pytest.raises(InvalidInput):
        Database(bad, Settings())


def test_a_password_is_not_shown() -> None:
    database = Database("postgresql://me:secret@localhost:1/zoo", Settings())
    assert "secret" not in database.shown_url
    with pytest.raises(StorageError) as caught:
        Catalog(database).count()
    assert "secret" not in str(caught.value)
    database.close()


# --- opening


@sqlite_file
def test_a_missing_file_is_not_created(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound, match="no database") as caught:
        Engine.open(url)
    assert "engine init" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatabaseNotFound, match="folder"):
        Engine.open(f"sqlite:///{tmp_path}/nowhere/zoo.db", create=True)
    assert list(tmp_path.iterdir()) == []


@sqlite_file
@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_database_is_refused_and_left_alone(url: str, create: bool) -> None:
    content = b"this is a letter, not a database\n" * 100
    file_of(url).write_bytes(content)
    with pytest.raises(CorruptData, match="not a database"):
        Engine.open(url, create=create)
    assert file_of(url).read_bytes() == content


@sqlite_file
def test_an_empty_file_holds_no_collection_and_stays_empty(url: str) -> None:
    file_of(url).touch()
    with pytest.raises(DatabaseNotFound, match="no collection"):
        Engine.open(url)
    assert file_of(url).read_bytes() == b""


@pytest.mark.parametrize("table", ["birds", "collection"])
def test_somebody_elses_database_is_refused_and_left_alone(url: str, table: str) -> None:
    theirs = create_engine(url)
    with theirs.begin() as connection:
        connection.execute(text(f"CREATE TABLE {table} (name TEXT)"))
    theirs.dispose()
    with pytest.raises(DatabaseNotFound, match="no collection"):
        Engine.open(url)
    assert inspect(theirs).get_table_names() == [table]
    theirs.dispose()


def test_creating_twice_changes_nothing(url: str, settings: Settings) -> None:
    with Engine.open(url, create=True, encoder="external:a", settings=settings) as first:
        facts = Catalog(first.services.database).facts()
    with Engine.open(url, create=True, settings=settings) as second:
        assert Catalog(second.services.database).facts() == facts
        assert second.default_encoder == "external:a"


@sqlite_file
@pytest.mark.parametrize("page", [4096, 65536])
def test_a_file_of_other_pages_keeps_them(url: str, settings: Settings, rng, page: int) -> None:
    with raw(url) as connection:
        connection.execute(f"PRAGMA page_size = {page}")
        connection.execute("PRAGMA journal_mode = WAL")
    given = rng.standard_normal((7, 512)).astype(np.float32)
    for count in (4, 7):
        with Engine.open(url, create=True, encoder="external:a", settings=settings) as eng:
            names = [f"m{i}" for i in range(count)]
            eng.ingest_statistics(names, given[:count], encoder="external:a", samples=9)
            assert eng.search_vectors(given[count - 1], 1)[1].tolist() == [eng.get(names[-1]).id]
    with raw(url) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (page,)


@sqlite_file
def test_a_page_of_a_new_file_holds_several_means(url: str, settings: Settings, rng) -> None:
    with Engine.open(url, create=True, encoder="external:a", settings=settings) as eng:
        before, many = file_of(url).stat().st_size, 4000
        given = rng.standard_normal((many, 512))
        eng.ingest_statistics([f"m{i}" for i in range(many)], given, encoder="external:a", samples=9)
    assert file_of(url).stat().st_size - before < 1.5 * many * 512 * 4  # a page each were twice as much


def test_a_collection_that_was_never_completed(url: str, settings: Settings) -> None:
    database = Database(url, settings, create=True)
    migrate.upgrade(database)  # killed before it got its identity
    database.close()
    with pytest.raises(DatabaseNotFound, match="never completed"):
        Engine.open(url, settings=settings)
    Engine.open(url, create=True, settings=settings).close()
    Engine.open(url, settings=settings).close()


CREATE = """
import sys
from engine import Engine
print("ready", flush=True)
sys.stdin.readline()
Engine.open(sys.argv[1], create=True, encoder="external:a").close()
"""


def test_several_processes_may_create_it_at_once(url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], "\n".join(errors)
    Engine.open(url).close()


# --- migrations


@pytest.mark.backends("sqlite")
@pytest.mark.parametrize("end", range(1, 6))
def test_somebody_else_upgrades_between_two_transactions(
    url: str, settings: Settings, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of one upgrade has been committed, another may come in between."""
    database, ended = Database(url, settings, create=True), 0
    dialect = database._engine.dialect

    def hooked(real: Callable[[object], None]) -> Callable[[object], None]:
        def ending(connection: object) -> None:
            nonlocal ended
            real(connection)
            ended += 1
            if ended == end:
                command = [sys.executable, "-c", CREATE, url]
                subprocess.run(command, cwd=ROOT, input="go", text=True, check=True, timeout=60)

        return ending

    for name in ("do_commit", "do_rollback"):
        monkeypatch.setattr(dialect, name, hooked(getattr(dialect, name)))
    migrate.upgrade(database)
    assert ended >= 2
    assert migrate.current_revision(database) == migrate.head_revision()
    database.close()


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    with database.connection() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_down_and_up_again(database: Database, put, catalog: Catalog) -> None:
    put("fox", tags=["animal"])
    assert migrate.current_revision(database) == migrate.head_revision()
    migrate.downgrade(database, "base")
    assert migrate.current_revision(database) is None
    with database.connection() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate.upgrade(database)
    migrate.check(database)
    assert catalog.count() == 0


def test_upgrading_a_current_database_keeps_its_data(database: Database, put, catalog: Catalog) -> None:
    fox = put("fox", tags=["animal"])
    migrate.upgrade(database)
    assert catalog.model("fox") == fox


@pytest.mark.parametrize("error", [DatabaseOutdated, DatabaseTooNew])
def test_another_schema_is_refused(database: Database, url: str, error: type[EngineError], monkeypatch) -> None:
    if error is DatabaseTooNew:
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(error, match="9999"):
            migrate.upgrade(database)
    else:
        monkeypatch.setattr(migrate, "head_revision", lambda: "9998")  # as if the code had moved on
    with pytest.raises(error) as caught:
        Engine.open(url)
    assert "engine db upgrade" in str(caught.value.hint) or error is DatabaseTooNew
    assert caught.value.hint
    with pytest.raises(error):
        Engine.open(url, create=True)


# --- locks


@sqlite_file
def test_a_locked_database_says_so_and_recovers(database: Database, catalog: Catalog, put, url: str) -> None:
    put("fox")
    with raw(url) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked) as caught:
            put("owl")
        assert "try again" in str(caught.value.hint)
        assert [model.name for model in catalog.models()] == ["fox"]  # reading goes on
        other.execute("ROLLBACK")
    put("owl")
    assert catalog.count() == 2


def test_a_transaction_that_fails_leaves_nothing(database: Database, catalog: Catalog, put) -> None:
    put("fox")

    def fail() -> None:
        with database.write() as session:
            session.execute(text("UPDATE models SET name = 'owl'"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [model.name for model in catalog.models()] == ["fox"]


# --- no room


def test_a_half_read_result_holds_no_later_transaction_back(database: Database, put, url, settings) -> None:
    """An exception's traceback keeps such a result alive; its connection must not go on reading old data."""
    for number in range(3):
        put(f"before-{number}")
    kept = []
    for _ in range(3):
        with database.read() as session:
            kept.append(session.execute(text("SELECT name FROM models")))
            kept[-1].fetchone()
    with closing(Database(url, settings)) as other, other.write() as session:
        session.execute(text("UPDATE models SET author = 'Ada'"))
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM models WHERE author = 'Ada'")) == 3


def test_running_out_of_connections_is_said(url: str, settings: Settings) -> None:
    database = Database(url, settings, create=True)
    pool: Any = database._engine.pool
    pool._timeout, pool._max_overflow = 0.05, 0
    with ExitStack() as held:
        for _ in range(pool.size()):
            held.enter_context(database.connection())
        with pytest.raises(DatabaseLocked, match="limit") as caught, database.connection():
            pass
    assert "threads" in str(caught.value.hint)
    database.close()


def fill(put, catalog: Catalog) -> tuple[EngineError, list[str]]:
    """Put models until one fails: the error, and the names that were put."""
    for number in range(2000):
        try:
            put(f"model {number}", rows=500)
        except EngineError as error:
            return error, [f"model {i}" for i in range(number)]
    raise AssertionError("the disk never filled")


@sqlite_file
def test_a_database_that_cannot_grow_loses_nothing(database: Database, catalog: Catalog, put) -> None:
    with database.connection() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    with database.connection() as connection:  # the limit is the connection's own: the pool hands out this one again
        connection.execute(text(f"PRAGMA max_page_count = {pages + 30}"))
    error, names = fill(put, catalog)
    assert isinstance(error, DiskFull)
    assert {model.name for model in catalog.models()} == set(names)
    with database.connection() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    put(f"model {len(names)}")
    assert catalog.count() == len(names) + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes, of which an empty collection takes one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, settings: Settings, rng) -> None:
    url = f"sqlite:///{small_disk / 'zoo.db'}"
    done: list[str] = []
    with Engine.open(url, create=True, encoder="external:a", settings=settings) as eng:

        def fill_up() -> None:
            for number in range(2000):
                eng.ingest(rng.normal(size=(500, 8)).astype(np.float32), name=f"model {number}")
                done.append(f"model {number}")

        with pytest.raises(DiskFull) as caught:
            fill_up()
        assert "lost" in str(caught.value.hint)
        assert len(done) > 2
        assert {model.name for model in eng.models()} >= set(done)
        assert {hit.name for hit in eng.search(model=done[0], k=2)} <= set(done) | {f"model {len(done)}"}
    with Engine.open(url, settings=settings) as eng:
        assert {model.name for model in eng.models()} >= set(done)
        assert [f for f in eng.doctor() if f.severity == "damage"] == []


# --- a killed writer

KILL = """
import os, signal, sys
import numpy as np
from engine.config import Settings
from engine.records import Ingested, Statistics
from engine.storage import Catalog, Database
catalog = Catalog(Database(sys.argv[1], Settings()))
import engine.storage.catalog as module
# the last step before the commit: everything of the model is in the transaction by then
real = module.remove_unused_tags
def last(session):
    real(session)
    session.flush()
    os.kill(os.getpid(), signal.SIGKILL)
module.remove_unused_tags = last
statistics = Statistics(np.ones(8, np.float32), np.eye(8, dtype=np.float32), 1e-4, 9)
catalog.put(Ingested(sys.argv[2], {"tags": ["half"]}, statistics, {}, "new"), 1)
"""


@pytest.mark.parametrize("name", ["owl", "fox"])
def test_a_killed_writer_leaves_nothing_half(database: Database, catalog: Catalog, put, url: str, name: str) -> None:
    fox = put("fox", tags=["animal"])
    before = catalog.statistics(1, [fox.id])[0][fox.id]
    killed = subprocess.run([sys.executable, "-c", KILL, url, name], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert catalog.models() == [fox]
    assert catalog.models({"tag": "half"}) == []
    after = catalog.statistics(1, [fox.id])[0][fox.id]
    assert after.change == before.change == catalog.last_change()
    assert (after.statistics.mean == before.statistics.mean).all()
    assert catalog.source_digest("fox", 1) == "d"
    put(name, tags=["whole"])
    assert catalog.model(name).tags == ("whole",)


# --- no permission


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder, while the process has no more rights than its owner."""
    folder = Path(tempfile.mkdtemp())
    was = os.geteuid()
    if was == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700)
    os.seteuid(was)
    shutil.rmtree(folder)


def test_a_read_only_collection(ordinary_user: Path) -> None:
    url = f"sqlite:///{ordinary_user / 'zoo.db'}"
    settings = Settings(index_folder=str(ordinary_user / "index"))
    with Engine.open(url, create=True, encoder="external:a", settings=settings) as eng:
        eng.ingest(np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32), name="fox")
    (ordinary_user / "zoo.db").chmod(0o400)
    with Engine.open(url, settings=settings) as eng:
        assert [model.name for model in eng.models()] == ["fox"]
        with pytest.raises(StorageError, match="readonly") as caught:
            eng.remove("fox")
        assert "writable" in str(caught.value.hint)
        assert [model.name for model in eng.models()] == ["fox"]


def test_a_read_only_folder(ordinary_user: Path) -> None:
    ordinary_user.chmod(0o500)
    with pytest.raises(StorageError) as caught:
        Engine.open(f"sqlite:///{ordinary_user / 'zoo.db'}", create=True)
    assert caught.value.hint
    assert list(ordinary_user.iterdir()) == []


def test_a_file_that_may_not_be_read(ordinary_user: Path) -> None:
    url = f"sqlite:///{ordinary_user / 'zoo.db'}"
    Engine.open(url, create=True, encoder="external:a").close()
    (ordinary_user / "zoo.db").chmod(0)
    with pytest.raises(StorageError) as caught:
        Engine.open(url)
    assert caught.value.hint
