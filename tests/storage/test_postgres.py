"""What is Postgres' own: its blobs, its locks, its errors, and a server that goes away and comes back."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import LargeBinary, func, select, text
from sqlalchemy.dialects import postgresql

from engine import Engine
from engine.config import Settings
from engine.errors import (
    CorruptData,
    DatabaseLocked,
    DatabaseNotFound,
    DiskFull,
    EngineError,
    StorageError,
)
from engine.storage import Catalog, Database
from engine.storage.database import WRITER_LOCK, state_to_error
from engine.storage.ordering import ByBytes
from engine.storage.paging import models_page
from engine.storage.tables import Base, ModelRow
from tests.postgres import Server, database_name, shared_server

pytestmark = pytest.mark.backends("postgres")
BLOBS = [
    (table.name, column.name)
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, LargeBinary)
]


def test_there_are_blobs() -> None:
    assert len(BLOBS) >= 6


@pytest.mark.parametrize(("table", "column"), BLOBS)
def test_blobs_are_kept_out_of_line_and_not_compressed(database: Database, table: str, column: str) -> None:
    query = text("SELECT attstorage FROM pg_attribute WHERE attrelid = CAST(:t AS regclass) AND attname = :c")
    with database.read() as session:
        assert session.execute(query, {"t": table, "c": column}).scalar_one() in ("e", b"e")


def test_a_writer_that_waits_too_long_says_so(database: Database, catalog: Catalog, put, url: str) -> None:
    put("fox")
    with psycopg.connect(url.replace("+psycopg", "")) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
        with pytest.raises(DatabaseLocked) as caught:
            put("owl")
        assert "busy_timeout" in str(caught.value.hint)
        assert [model.name for model in catalog.models()] == ["fox"]  # reading goes on
    put("owl")
    assert catalog.count() == 2


def test_a_read_is_one_consistent_view(database: Database, put) -> None:
    put("fox")
    count = select(func.count()).select_from(ModelRow)
    with database.read() as session:
        assert session.scalar(count) == 1
        writer = threading.Thread(target=put, args=("owl",))
        writer.start()
        writer.join()
        assert session.scalar(count) == 1
    with database.read() as session:
        assert session.scalar(count) == 2


@pytest.mark.backends("sqlite", "postgres")
def test_names_are_ordered_alike_everywhere(database: Database, catalog: Catalog, put) -> None:
    names = ["Zebra", "apple", "Äpfel", "ant-2", "ant 10", "_x", "zoo", "é", "owl", "Owl", "10", "9", "犬"]
    for name in names:
        put(name, kept=False)
    expected = sorted(names, key=str.encode)
    assert [model.name for model in catalog.models()] == expected
    found, cursor = [], None
    while True:
        page = models_page(database, None, limit=4, cursor=cursor)
        found += [model.name for model in page.models]
        cursor = page.next
        if cursor is None:
            break
    assert found == expected
    falling = models_page(database, None, sort="-name", limit=20)
    assert [model.name for model in falling.models] == expected[::-1]


def test_names_are_ordered_by_bytes_whatever_the_locale() -> None:
    said = str(select(ModelRow.id).order_by(ByBytes(ModelRow.name)).compile(dialect=postgresql.dialect()))
    assert 'COLLATE "C"' in said  # the tests' server knows no other locale, so its order alone would show nothing


def test_a_read_cannot_write(database: Database, catalog: Catalog, put) -> None:
    put("fox")
    with pytest.raises(StorageError, match="read-only"), database.read() as session:
        session.execute(text("UPDATE models SET name = 'owl'"))
    put("owl")
    assert catalog.count() == 2


def test_what_the_address_says_of_the_connection_is_kept(url: str, settings: Settings) -> None:
    database = Database(f"{url}&connect_timeout=77&keepalives_idle=5", settings)
    with database.read() as session:
        told = session.connection().connection.driver_connection.info.get_parameters()
    database.close()
    assert (told["connect_timeout"], told["keepalives_idle"], told["tcp_user_timeout"]) == ("77", "5", "60000")


def test_an_id_beyond_the_column_fails_and_writes_nothing(database: Database, catalog: Catalog, put) -> None:
    put("fox")
    with database.write() as session:
        session.execute(text("SELECT setval('changes_seq_seq', (SELECT max_value FROM pg_sequences"
                             " WHERE sequencename = 'changes_seq_seq'))"))  # fmt: skip
    with pytest.raises(StorageError) as caught:
        put("owl")
    assert "ids" in str(caught.value.hint)
    assert [model.name for model in catalog.models()] == ["fox"]


# --- refusals


def test_an_old_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.storage.database.OLDEST_POSTGRES", 99)
    with pytest.raises(StorageError, match="99 or newer"):
        Engine.open(url, create=True, encoder="external:test")


def test_a_database_that_cannot_hold_any_text_is_refused() -> None:
    server = shared_server()
    server.execute("CREATE DATABASE narrow ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StorageError, match="SQL_ASCII") as caught:
            Engine.open(server.url("narrow"), create=True, encoder="external:test")
        assert "UTF8" in str(caught.value.hint)
    finally:
        server.drop(server.url("narrow"))


def test_a_database_that_is_not_there(url: str) -> None:
    with pytest.raises(DatabaseNotFound) as caught:
        Engine.open(shared_server().url("nowhere"))
    assert "createdb" in str(caught.value.hint)
    with pytest.raises(DatabaseNotFound, match="no collection"):
        Engine.open(url)


def test_a_server_that_only_reads(database: Database, catalog: Catalog, put, url: str, settings: Settings) -> None:
    put("fox")
    shared_server().execute(f'ALTER DATABASE "{database_name(url)}" SET default_transaction_read_only = on')
    with Engine.open(url, settings=settings) as eng:
        assert [model.name for model in eng.models()] == ["fox"]
        with pytest.raises(StorageError) as caught:
            eng.remove("fox")
        assert "only reads" in str(caught.value.hint)


def test_too_many_connections(url: str) -> None:
    server, name = shared_server(), database_name(url)
    server.execute("CREATE ROLE narrow LOGIN")
    try:
        server.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
        with pytest.raises(DatabaseLocked) as caught:
            Engine.open(url.replace("postgres:@", "narrow@"))
        assert "max_connections" in str(caught.value.hint)
    finally:
        server.execute("DROP ROLE narrow")


def test_no_server_and_no_password_in_what_is_said() -> None:
    with pytest.raises(StorageError) as caught:
        Engine.open("postgresql://me:secret@127.0.0.1:1/zoo", settings=Settings(busy_timeout=1.0))
    assert "secret" not in str(caught.value) + str(caught.value.hint)
    assert "reachable" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("55P03", DatabaseLocked), ("40001", DatabaseLocked), ("40P01", DatabaseLocked), ("53100", DiskFull),
        ("53300", DatabaseLocked), ("28P01", StorageError), ("3D000", DatabaseNotFound), ("42P01", DatabaseNotFound),
        ("25006", StorageError), ("57P01", StorageError), ("08006", StorageError), ("XX001", CorruptData),
        ("22000", StorageError), (None, StorageError),
    ],
)  # fmt: skip
def test_every_state_is_an_error_of_ours(state: str | None, kind: type[EngineError]) -> None:
    assert state_to_error(state)[0] is kind


# --- a server that goes away


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may stop; what it has committed is on its disk."""
    server = Server(Path(tempfile.mkdtemp(prefix="engine-postgres-")), "max_connections = 20\n")
    yield server
    server.remove()


def test_a_server_that_comes_back_is_used_again(own_server: Server, settings: Settings, cloud) -> None:
    with Engine.open(own_server.create(), create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(cloud(1), name="fox")
        assert eng.search_vectors(cloud(1).mean(axis=0), 1)[0][0] > 0.99
        own_server.stop()
        for call in (eng.models, lambda: eng.ingest(cloud(2), name="owl"), lambda: eng.remove("fox")):
            with pytest.raises(StorageError) as caught:
                call()
            assert "again" in str(caught.value.hint)
        scores, _ = eng.search_vectors(cloud(1).mean(axis=0), 1)  # what is in memory goes on answering
        assert scores[0] > 0.99
        own_server.start()
        assert [model.name for model in eng.models()] == ["fox"]
        eng.ingest(cloud(2), name="owl")
        assert [hit.name for hit in eng.search(model="fox")] == ["owl"]


def test_a_server_that_goes_away_in_the_middle_of_a_write(own_server: Server, settings: Settings, cloud) -> None:
    url = own_server.create()
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(cloud(1), name="fox")

        def cut() -> None:
            with eng.services.database.write() as session:
                session.execute(text("UPDATE models SET name = 'owl'"))
                own_server.stop()

        with pytest.raises(StorageError):
            cut()
        own_server.start()
        assert [model.name for model in eng.models()] == ["fox"]
        assert [finding for finding in eng.doctor() if finding.severity == "damage"] == []
