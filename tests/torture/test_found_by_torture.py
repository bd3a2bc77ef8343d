"""What the torture found in the engine, and what was mended: one test each."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from engine import Engine
from engine.config import Settings
from engine.errors import DatabaseNotFound, DiskFull, StorageError
from engine.storage import Database
from engine.storage.tables import ChangeRow
from tests.postgres import shared_server
from tests.torture import content
from tests.torture.audit import unequal_searches
from tests.torture.faults import ordinary_user
from tests.torture.operations import opened
from tests.torture.truth import read_truth

FULL = "BEFORE INSERT ON {} BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
Open = Callable[[], Engine]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'zoo.db'}"


@pytest.fixture
def another(url: str, tmp_path: Path) -> Iterator[Open]:
    """Opens the collection once more; all are closed at the end."""
    found: list[Engine] = []
    settings = Settings(index_folder=str(tmp_path / "index"), refresh_interval=0.0)

    def open_one() -> Engine:
        found.append(opened(url, settings, create=not found))
        return found[-1]

    yield open_one
    for eng in found:
        eng.close()


def put(eng: Engine, *numbers: int) -> None:
    for number in numbers:
        eng.ingest(content.features(number), name=f"m{number}")


def refuse(url: str, table: str) -> None:
    """From now on whoever inserts into that table is told that the disk is full."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute(f"CREATE TRIGGER full_{table} {FULL.format(table)}")


def test_a_read_on_postgres_is_one_snapshot(tmp_path: Path) -> None:
    """Statements of one reading, as those that count means and then read them, must see the same rows."""
    settings = Settings(index_folder=str(tmp_path / "index"))
    address = shared_server().create()
    with opened(address, settings, create=True) as eng, opened(address, settings) as other:
        with eng.services.database.read() as session:
            before = session.scalar(select(func.count()).select_from(ChangeRow))
            put(other, 1)
            assert session.scalar(select(func.count()).select_from(ChangeRow)) == before
        with eng.services.database.read() as session:
            assert session.scalar(select(func.count()).select_from(ChangeRow)) == before + 1
        with eng.services.database.write() as session:  # this one waits for others, and must see what they wrote
            assert session.connection().get_isolation_level() == "READ COMMITTED"


@pytest.mark.parametrize("doing", ["shutting down", "starting up", "not yet accepting connections"])
def test_a_server_that_is_not_ready_is_no_missing_collection(doing: str) -> None:
    """It was taken for a database that is not there, with the advice to create one."""
    database = Database("postgresql+psycopg://u@h/zoo", Settings())
    error = database._ours(Exception(f"connection failed: FATAL:  the database system is {doing}"))
    assert type(error) is StorageError
    missing = database._ours(Exception('connection failed: FATAL:  database "zoo" does not exist'))
    assert isinstance(missing, DatabaseNotFound)
    database.close()


def test_a_failed_list_of_similar_models_is_no_failed_ingest(url: str, another: Open, caplog: Any) -> None:
    """The model was committed before: an error would have said that nothing was written."""
    eng = another()
    put(eng, 1, 2)
    refuse(url, "neighbours")
    put(eng, 3)
    assert [model.name for model in eng.models()] == ["m1", "m2", "m3"]
    assert "when they are asked for" in caplog.text
    assert [hit.name for hit in eng.similar("m3", k=2)] != [], "computed, though it cannot be kept"


def test_a_stale_whitening_is_used_where_none_can_be_stored(url: str, another: Open) -> None:
    eng = another()
    put(eng, 1, 2)
    eng.search_vectors(content.query(1), 2, "gaussian_density")
    refuse(url, "transforms")
    put(eng, 3, 4, 5)
    assert read_truth(url).whitening is not None
    assert unequal_searches(eng, read_truth(url), 1) == []
    with pytest.raises(DiskFull):
        eng.build_index()


def test_a_search_while_the_index_is_refreshed_does_no_harm(another: Open) -> None:
    """A refresh walks over the plans that searches have made; one more among them ended the thread that follows."""
    eng, other = another(), another()
    put(eng, 1, 2, 3)
    eng.search_vectors(content.query(1), 2)
    put(other, 4)
    planner = eng.services.search._planner
    planned, asked = planner.plan, []

    def planned_while_another_searches(*given: Any) -> Any:
        if not asked:
            asked.append(given)
            eng.search_vectors(content.query(1), 2, "gaussian_density")
        return planned(*given)

    planner.plan = planned_while_another_searches  # type: ignore[method-assign]
    eng.refresh()
    assert asked
    assert (eng.search_vectors(content.query(1), 5)[1] >= 0).sum() == 4


def test_a_late_refresh_is_not_undone_by_an_earlier_one(another: Open) -> None:
    eng, other = another(), another()
    put(eng, 1, 2)
    eng.search_vectors(content.query(1), 5)
    began, overtaken, goes_on = threading.Event(), threading.Event(), threading.Event()
    planner = eng.services.search._planner
    planned = planner.plan

    def in_a_bad_order(*given: Any) -> Any:
        """The early one plans first and ends before the late one does, which has seen more."""
        plan = planned(*given)
        if threading.current_thread() is early:
            began.set()
            goes_on.wait(10)
        else:
            overtaken.set()
            early.join(10)
        return plan

    put(other, 4)
    planner.plan = in_a_bad_order  # type: ignore[method-assign]
    early, late = threading.Thread(target=eng.refresh), threading.Thread(target=eng.refresh)
    early.start()
    assert began.wait(10)
    put(other, 3)
    late.start()
    overtaken.wait(0.3)
    goes_on.set()
    early.join()
    late.join()
    planner.plan = planned  # type: ignore[method-assign]
    assert (eng.search_vectors(content.query(1), 5)[1] >= 0).sum() == 4


def test_a_whitening_replaced_by_others_is_read_again(another: Open) -> None:
    eng, other = another(), another()
    put(eng, 1, 2)
    eng.search_vectors(content.query(1), 2, "gaussian_density")
    fresh = another()
    read, replaced = fresh.services.transforms.transforms.arrays, []

    def replaced_just_before(transform: Any) -> Any:
        if not replaced:
            replaced.append(transform.name)
            put(other, 3, 4)
            other.build_index()
        return read(transform)

    fresh.services.transforms.transforms.arrays = replaced_just_before  # type: ignore[method-assign]
    for method in ("whitened_first_moment", "linear_density", "gaussian_density"):
        assert (fresh.search_vectors(content.query(1), 5, method)[1] >= 0).sum() == 4
    (now,) = (one for one in other.transforms() if one.active)
    assert now.name not in replaced


@pytest.mark.parametrize("method", ["linear_density", "gaussian_density"])
def test_a_whitening_replaced_after_reading_serves_the_search(another: Open, method: str) -> None:
    eng, other = another(), another()
    put(eng, 1, 2)
    eng.search_vectors(content.query(1), 2, "whitened_first_moment")
    whitened, replaced = eng.services.transforms.whitened, []

    def replaced_just_after(*arguments: Any, **options: Any) -> Any:
        space = whitened(*arguments, **options)
        if not replaced:
            replaced.append(space)
            put(other, 3, 4)
            other.build_index()
        return space

    eng.services.transforms.whitened = replaced_just_after  # type: ignore[method-assign]
    scores, _ = eng.search_vectors(content.query(1), 2, method)
    assert replaced
    assert np.isfinite(scores).all()


def test_a_database_made_writable_is_written_without_reopening() -> None:
    """SQLite's connections to a file that could not be written stay so; they are not used any longer."""
    with ordinary_user() as folder:
        url, settings = f"sqlite:///{folder / 'zoo.db'}", Settings(index_folder=str(folder / "index"))
        opened(url, settings, create=True).close()
        (folder / "zoo.db").chmod(0o400)
        with opened(url, settings) as eng:
            with pytest.raises(StorageError, match="readonly"):
                put(eng, 1)
            for path in folder.glob("zoo.db*"):  # what SQLite makes beside it has its mode
                path.chmod(0o700)
            put(eng, 1)
            assert [model.name for model in eng.models()] == ["m1"]
