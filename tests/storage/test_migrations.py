"""Every migration, up and down, on both databases and with rows in every table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect, text

from engine import Engine
from engine.config import Settings
from engine.errors import DatabaseOutdated, DatabaseTooNew
from engine.storage import Database, migrate
from engine.storage.copy_rows import digest_rows, plain_tables
from engine.storage.tables import Base
from tests.postgres import shared_server
from tests.storage.full_collection import digests, make_collection

REVISIONS = [one.revision for one in ScriptDirectory(str(migrate.migrations_folder())).walk_revisions()][::-1]
STEPS = list(pairwise(REVISIONS))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("made")
    urls = {"sqlite": f"sqlite:///{folder / 'zoo.db'}", "postgres": shared_server().create()}
    for kind, url in urls.items():
        make_collection(url, Settings(index_folder=str(folder / kind)))
    return urls


@pytest.fixture(params=["sqlite", "postgres"])
def full(
    request: pytest.FixtureRequest, made: dict[str, str], tmp_path: Path, settings: Settings
) -> Iterator[Database]:
    """A collection with rows in every table, to be changed."""
    if request.param == "postgres":
        url = shared_server().create(template=made["postgres"])
    else:
        url = f"sqlite:///{tmp_path / 'full.db'}"
        shutil.copy(made["sqlite"].removeprefix("sqlite:///"), tmp_path / "full.db")
    database = Database(url, settings)
    yield database
    database.close()
    if request.param == "postgres":
        shared_server().drop(url)


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def known_digests(database: Database) -> dict[str, tuple[int, str]]:
    """Digests of those tables that the database has."""
    with database.connection() as connection:
        there = set(inspect(connection).get_table_names())
        sqlite = database.is_sqlite
        tables = [table for table in plain_tables(sqlite=sqlite) if table.name in there]
        return {table.name: digest_rows(connection, table, sqlite=sqlite, block_bytes=4096) for table in tables}


def schema(database: Database) -> dict[str, object]:
    """Every table's columns, keys and indexes, as the database itself describes them."""
    with database.connection() as connection:
        seen = inspect(connection)
        return {
            name: {
                "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(name)],
                "key": seen.get_pk_constraint(name),
                "foreign": sorted(map(str, seen.get_foreign_keys(name))),
                "indexes": sorted(map(_index_to_text, seen.get_indexes(name))),
                "unique": sorted(map(str, seen.get_unique_constraints(name))),
            }
            for name in seen.get_table_names()
        }


def _index_to_text(index: Any) -> str:
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return f"{index['name']} {index['column_names']} {index['unique']} {options}"


def test_the_tables_of_the_code_are_those_of_the_migrations(full: Database) -> None:
    with full.connection() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []


def test_a_column_that_drifts_is_noticed(full: Database) -> None:
    with full.write() as session:
        session.execute(text("ALTER TABLE tags ADD COLUMN colour VARCHAR(10)"))
    with full.connection() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert [one[0] for one in compare_metadata(context, Base.metadata)] == ["remove_column"]


@pytest.mark.parametrize(("older", "newer"), STEPS)
def test_down_and_up_keeps_what_both_schemas_know(full: Database, older: str, newer: str) -> None:
    whole, shape = digests(url_of(full), Settings()), schema(full)
    assert all(rows > 0 for rows, _ in whole.values())
    migrate.downgrade(full, newer)
    upper, upper_shape = known_digests(full), schema(full)
    migrate.downgrade(full, older)
    assert migrate.current_revision(full) == older
    lower = known_digests(full)
    assert lower == {name: whole[name] for name in lower}
    assert len(lower) >= len(whole) - 1
    with pytest.raises(DatabaseOutdated) as caught:
        Engine.open(url_of(full))
    assert "engine db upgrade" in str(caught.value.hint)
    with pytest.raises(DatabaseOutdated):
        Engine.open(url_of(full), create=True)
    assert known_digests(full) == lower
    migrate.upgrade(full, newer)
    again = known_digests(full)
    assert {name: again[name] for name in lower} == {name: upper[name] for name in lower}
    assert schema(full) == upper_shape
    migrate.upgrade(full)
    assert schema(full) == shape
    with Engine.open(url_of(full)) as eng:
        assert len(eng.models()) == whole["models"][0]
        assert [one.severity for one in eng.doctor() if one.what.startswith("statistics")] == []


def test_down_to_nothing_and_up_again(full: Database) -> None:
    shape = schema(full)
    migrate.downgrade(full, "base")
    with full.connection() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate.upgrade(full)
    assert schema(full) == shape
    assert {rows for rows, _ in known_digests(full).values()} == {0}


def test_a_newer_database_is_refused_and_left_alone(full: Database) -> None:
    before = digests(url_of(full), Settings())
    with full.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (
        lambda: Engine.open(url_of(full)),
        lambda: Engine.open(url_of(full), create=True),
        lambda: migrate.upgrade(full),
    ):
        with pytest.raises(DatabaseTooNew, match="9999") as caught:
            attempt()
        assert "upgrade the package" in str(caught.value.hint)
    assert digests(url_of(full), Settings()) == before


class Interrupted(Exception):
    """Raised in the middle of a migration."""


@pytest.mark.parametrize(("older", "newer"), STEPS)
def test_an_interrupted_upgrade_leaves_the_old_schema(full: Database, older: str, newer: str) -> None:
    migrate.downgrade(full, older)
    before, shape = known_digests(full), schema(full)
    statements: list[str] = []

    def note(_c: Connection, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(full._engine, "before_cursor_execute", note)
    migrate.upgrade(full, newer)
    event.remove(full._engine, "before_cursor_execute", note)
    changing = [at for at, said in enumerate(statements) if said.split()[0] in ("CREATE", "ALTER", "UPDATE", "DROP")]
    assert changing
    for place in changing:
        migrate.downgrade(full, older)
        left = place + 1

        def stop(_c: Connection, _cursor: object, _statement: str, *_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Interrupted

        event.listen(full._engine, "after_cursor_execute", stop)
        with pytest.raises(Interrupted):
            migrate.upgrade(full, newer)
        event.remove(full._engine, "after_cursor_execute", stop)
        assert migrate.current_revision(full) == older
        assert schema(full) == shape
        assert known_digests(full) == before
        migrate.upgrade(full, newer)


def test_ids_and_change_numbers_beyond_four_bytes(full: Database, cloud) -> None:
    far = 2**33
    with full.write() as session:
        if full.is_sqlite:
            session.execute(text("UPDATE sqlite_sequence SET seq = :far"), {"far": far})
        else:
            for table, column in (("models", "id"), ("changes", "seq")):
                said = text("SELECT setval(pg_get_serial_sequence(:table, :column), :far)")
                session.execute(said, {"table": table, "column": column, "far": far})
    with Engine.open(url_of(full)) as eng:
        eng.ingest(cloud(70), name="far", tags=["far"])
        assert eng.get("far").id == far + 1
        assert eng.services.catalog.last_change() == far + 1
        assert eng.search(model="far", k=3)
        assert eng.names(eng.search_vectors(cloud(70).mean(axis=0), 1)[1].ravel()) == ["far"]
        assert [one.what for one in eng.doctor() if "far" in one.what] == []
