"""A collection is copied whole, in every direction; what a kill, a change or damage on the way does."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import Conflict, CorruptData, DatabaseNotFound, DatabaseOutdated, InvalidInput, UnfinishedCopy
from engine.storage import Database, migrate
from engine.storage.copy_rows import COPYING
from engine.storage.copying import Copied, copy_collection
from tests.postgres import shared_server
from tests.storage.full_collection import NAMES, digests, features, make_collection

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("sqlite", "postgres")
WAYS = [(a, b) for a in KINDS for b in KINDS]
New = Callable[[str], str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same kind of collection on either database; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("made")
    urls = {"sqlite": f"sqlite:///{folder / 'zoo.db'}", "postgres": shared_server().create()}
    for kind, url in urls.items():
        make_collection(url, Settings(index_folder=str(folder / kind)))
    return urls


@pytest.fixture
def new(tmp_path: Path) -> Iterator[New]:
    """Make addresses: ``new("sqlite")`` is a file that is not there, ``new("postgres")`` an empty database."""
    numbers, server, made = count(), shared_server(), []

    def address(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'copy{next(numbers)}.db'}"
        made.append(server.create())
        return made[-1]

    yield address
    for url in made:
        server.drop(url)


@pytest.fixture
def own(made: dict[str, str], new: New) -> Callable[[str], str]:
    """A collection of one's own, to be changed: ``own("postgres")``."""

    def copied(kind: str) -> str:
        if kind == "postgres":
            return shared_server().create(template=made[kind])
        url = new("sqlite")
        shutil.copy(made[kind].removeprefix("sqlite:///"), url.removeprefix("sqlite:///"))
        return url

    return copied


def rows_of(copied: Copied) -> dict[str, tuple[int, str]]:
    return {one.name: (one.rows, one.digest) for one in copied.tables}


def execute(url: str, *statements: str) -> None:
    database = Database(url, Settings())
    with database.write() as session:
        for statement in statements:
            session.execute(text(statement))
    database.close()


# --- whole


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_everything_arrives(made: dict[str, str], new: New, kind: str, other: str, settings: Settings) -> None:
    source, target = made[kind], new(other)
    stages: list[tuple[str, int, int]] = []
    copied = copy_collection(source, target, settings, on_progress=lambda *said: stages.append(said), page=3)
    assert (copied.status, copied.damaged) == ("copied", ())
    assert digests(source, settings) == digests(target, settings) == rows_of(copied)
    assert all(one.rows > 0 and one.written == one.rows for one in copied.tables)
    assert {stage for stage, done, total in stages if done == total} == {
        f"{what} {one.name}{side}"
        for one in copied.tables
        for what, side in (("copying", ""), ("verifying", ", source"), ("verifying", ", target"))
    }
    with Engine.open(source, settings=settings) as a, Engine.open(target, settings=settings) as b:
        assert a.models() == b.models()
        assert a.thumbnails("owl") == b.thumbnails("owl")
        for method in ("first_moment", "gaussian_density", "monte_carlo"):
            (scores, ids), found = (eng.search_vectors(features(2)[:3], 8, method=method) for eng in (a, b))
            np.testing.assert_array_equal(scores, found[0])
            np.testing.assert_array_equal(ids, found[1])
            assert set(ids[0]) == {model.id for model in a.models()}
        assert a.similar("fox") == b.similar("fox")
        assert [one.what for one in a.doctor()] == [one.what for one in b.doctor()]
    again = copy_collection(source, target, settings)
    assert again.status == "identical"
    assert rows_of(again) == rows_of(copied)


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_no_id_is_given_twice(made: dict[str, str], new: New, kind: str, other: str, settings: Settings) -> None:
    target = new(other)
    copy_collection(made[kind], target, settings)
    with Engine.open(target, settings=settings) as eng:
        highest = max(model.id for model in eng.models())
        assert highest == len(NAMES) + 2  # "newest", now removed, came before the owl
        changes = eng.services.catalog.last_change()
        eng.remove("owl")
        eng.ingest(features(30), name="roc", tags=["mythical"])
        assert eng.get("roc").id == highest + 1
        eng.ingest(features(31), name="elf", encoder="external:third", tags=["mythical"])
        assert eng.services.catalog.last_change() == changes + 3
        assert len({identity.name for identity in eng.encoders()}) == 3


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_ids_that_were_given_last_are_not_given_again(
    own: Callable[[str], str], new: New, kind: str, other: str, settings: Settings
) -> None:
    source, target = own(kind), new(other)
    with Engine.open(source, settings=settings) as eng:
        eng.ingest(features(40), name="last")
        gone = eng.get("last").id
        eng.remove("last")
    execute(source, "DELETE FROM changes WHERE seq = (SELECT max(seq) FROM changes)")
    copy_collection(source, target, settings)
    with Engine.open(target, settings=settings) as eng:
        before = eng.services.catalog.last_change()
        eng.ingest(features(41), name="next")
        assert eng.get("next").id > gone
        assert eng.services.catalog.last_change() == before + 2


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_the_source_may_be_written_to_meanwhile(
    own: Callable[[str], str], new: New, kind: str, other: str, settings: Settings
) -> None:
    source, target = own(kind), new(other)
    before = digests(source, settings)
    busy = Engine.open(source, settings=settings)

    def change(stage: str, done: int, total: int) -> None:
        if stage == "copying models" and done < total:
            busy.ingest(features(50 + done), name=f"late {done}")
            busy.update("ant", description=f"changed {done}", tags=["late"])

    with busy:
        copied = copy_collection(source, target, settings, on_progress=change, page=2)
        assert digests(target, settings) == before == rows_of(copied)
        assert len(busy.models()) > len(NAMES) + 1


# --- killed

COPY = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from engine.storage.copying import copy_collection
left = int(sys.argv[3])
def before(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "before_cursor_execute", before)
event.listen(Engine, "commit", before)
copied = copy_collection(sys.argv[1], sys.argv[2], page=2, block_bytes=1)
print(copied.status, sys.argv[3] and -left)
"""


def run_copy(source: str, target: str, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    """Copy in a process that kills itself before its n-th statement or commit."""
    command = [sys.executable, "-c", COPY, source, target, str(kill_at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("kind", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_killed_again_and_again(made: dict[str, str], new: New, kind: str, other: str, settings: Settings) -> None:
    source = made[kind]
    whole = run_copy(source, new(other))
    assert whole.returncode == 0, whole.stderr
    steps = int(whole.stdout.split()[1])
    places = random.Random(7)
    for rounds in (1, 1, 3):  # at two places; then again and again, wherever it has come to
        target, resumed = new(other), False
        for _ in range(rounds):
            done = run_copy(source, target, places.randrange(1, steps))
            if done.returncode == 0:
                break
            assert done.returncode == -signal.SIGKILL, done.stderr
            with pytest.raises((UnfinishedCopy, DatabaseNotFound, DatabaseOutdated)) as caught:
                Engine.open(target, settings=settings)
            if caught.type is UnfinishedCopy:
                resumed = True
                assert "engine copy again" in str(caught.value.hint)
                with pytest.raises(UnfinishedCopy):
                    Engine.open(target, create=True, settings=settings)
                with pytest.raises(UnfinishedCopy):
                    copy_collection(target, new("sqlite"), settings)
        copied = copy_collection(source, target, settings)
        assert copied.status in (("resumed", "identical") if resumed else ("copied",))
        assert digests(source, settings) == digests(target, settings) == rows_of(copied)


class Stop(Exception):
    """Raised in the middle of a copy."""


def copy_until(source: str, target: str, settings: Settings, stage: str) -> None:
    def stop(said: str, _done: int, _total: int) -> None:
        if said == stage:
            raise Stop

    with pytest.raises(Stop):
        copy_collection(source, target, settings, on_progress=stop, page=2)


def test_what_is_there_is_not_written_again(made: dict[str, str], new: New, settings: Settings) -> None:
    target = new("postgres")
    copy_until(made["sqlite"], target, settings, "copying statistics")
    copied = copy_collection(made["sqlite"], target, settings)
    assert copied.status == "resumed"
    written = {one.name: one.written for one in copied.tables}
    assert written["models"] == written["changes"] == written["neighbours"] == written["sample_features"] == 0
    assert 0 < written["statistics"] < next(one.rows for one in copied.tables if one.name == "statistics")


@pytest.mark.parametrize(("kind", "other"), WAYS)
@pytest.mark.parametrize("stage", ["copying models", "copying statistics", "verifying statistics, target"])
def test_the_source_changed_before_it_went_on(
    own: Callable[[str], str], new: New, kind: str, other: str, stage: str, settings: Settings
) -> None:
    source, target = own(kind), new(other)
    copy_until(source, target, settings, stage)
    with Engine.open(source, settings=settings) as eng:
        eng.update("ant", name="spare")
        eng.update("bee", name="ant")  # two models change names: each is in the other's way
        eng.update("spare", name="bee", tags=["new"], description="now a bee")
        eng.remove("cat")
        eng.ingest(features(60), name="cat", tags=["letter a", "late"])
        eng.ingest(features(61), name="dog")
        eng.ingest(features(62), name="hen")
        names = [one.name for one in eng.transforms() if one.modality == "sketch"]
        eng.remove_transform(names[-1])
        eng.activate_transform(names[0])
    copied = copy_collection(source, target, settings)
    assert copied.status == "resumed"
    if stage != "copying models":  # else nothing had arrived yet that is gone
        assert sum(one.removed for one in copied.tables) > 0
    assert digests(source, settings) == digests(target, settings) == rows_of(copied)
    with Engine.open(target, settings=settings) as eng:
        assert eng.get("bee").description == "now a bee"
        assert eng.names(eng.search_vectors(features(61)[0], 1)[1]) in (["dog"], [["dog"]])


# --- refused


@pytest.mark.parametrize("kind", KINDS)
def test_targets_that_are_refused_and_left_alone(
    made: dict[str, str], new: New, own: Callable[[str], str], kind: str, settings: Settings
) -> None:
    source, other = made["sqlite"], new(kind)
    with Engine.open(other, create=True, encoder="external:b", settings=settings) as eng:
        eng.ingest(features(1), name="mine")
    before = digests(other, settings)
    with pytest.raises(Conflict, match="another collection") as caught:
        copy_collection(source, other, settings)
    assert "empty" in str(caught.value.hint)
    assert digests(other, settings) == before

    changed = own(kind)
    with Engine.open(changed, settings=settings) as eng:
        eng.update("ant", description="different")
    before = digests(changed, settings)
    with pytest.raises(Conflict, match=r"already.*models differs"):
        copy_collection(made[kind], changed, settings)
    assert digests(changed, settings) == before

    unfinished = new(kind)
    copy_until(source, unfinished, settings, "copying models")
    with pytest.raises(Conflict, match="unfinished copy of another"):
        copy_collection(other, unfinished, settings)

    with pytest.raises(InvalidInput, match="same database"):
        copy_collection(other, other, settings)


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_elses_tables_are_left_alone(made: dict[str, str], new: New, kind: str, settings: Settings) -> None:
    url = new(kind)
    database = Database(url, settings, create=True)
    with database.write() as session:
        session.execute(text("CREATE TABLE birds (name TEXT)"))
    with pytest.raises(Conflict, match="not a collection's"):
        copy_collection(made["sqlite"], url, settings)
    assert migrate.current_revision(database) is None
    database.close()


def test_a_missing_source_makes_no_target(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(DatabaseNotFound):
        copy_collection(f"sqlite:///{tmp_path / 'none.db'}", f"sqlite:///{tmp_path / 'target.db'}", settings)
    assert list(tmp_path.iterdir()) == []


# --- damaged


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_damage_is_named_and_copied_as_it_is(
    own: Callable[[str], str], new: New, kind: str, other: str, settings: Settings
) -> None:
    source, target = own(kind), new(other)
    execute(
        source,
        "UPDATE statistics SET covariance = mean WHERE model_id = (SELECT id FROM models WHERE name = 'cat')",
        "UPDATE sample_features SET checksum = 'x' WHERE model_id = (SELECT id FROM models WHERE name = 'fox')",
        "UPDATE transforms SET checksum = 'y' WHERE id = 1",
    )
    copied = copy_collection(source, target, settings)
    assert {(one.table, one.name) for one in copied.damaged} == {
        ("statistics", "cat"),
        ("sample_features", "fox"),
        ("transforms", "sketch-first_moment-triangular-1"),
    }
    assert digests(source, settings) == digests(target, settings)


@pytest.mark.parametrize("other", KINDS)
def test_text_that_cannot_be_stored_ends_the_copy(
    own: Callable[[str], str], new: New, other: str, settings: Settings
) -> None:
    source, target = own("sqlite"), new(other)
    execute(source, "UPDATE models SET description = CAST(x'ff41' AS TEXT) WHERE name = 'cat'")
    with pytest.raises(CorruptData, match=r"table models .*rows \(\d+,\)") as caught:
        copy_collection(source, target, settings, page=1)
    assert "engine doctor" in str(caught.value.hint)
    with Engine.open(source, settings=settings) as eng:
        eng.update("cat", description="mended")
    assert copy_collection(source, target, settings).status == "resumed"
    assert digests(source, settings) == digests(target, settings)


def test_a_target_that_somebody_writes_to_is_noticed(made: dict[str, str], new: New, settings: Settings) -> None:
    target = new("sqlite")

    def meddle(stage: str, _done: int, _total: int) -> None:
        if stage == "verifying thumbnails, source":
            execute(target, "INSERT INTO thumbnails SELECT 1, 77, media_type, data FROM thumbnails LIMIT 1")

    with pytest.raises(CorruptData, match="thumbnails differs"):
        copy_collection(made["postgres"], target, settings, on_progress=meddle)
    with pytest.raises(UnfinishedCopy):
        Engine.open(target, settings=settings)
    assert next(t.removed for t in copy_collection(made["postgres"], target, settings).tables if t.name == "thumbnails")
    assert digests(target, settings) == digests(made["postgres"], settings)
    database = Database(target, settings)
    with database.connection() as connection:
        marks = connection.execute(text("SELECT count(*) FROM collection WHERE key = :key"), {"key": COPYING})
        assert marks.scalar() == 0
    database.close()


def test_large_rows_are_moved_one_at_a_time(tmp_path: Path, settings: Settings) -> None:
    import tracemalloc

    source, target = f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    with Engine.open(source, create=True, encoder="external:wide", settings=settings) as eng:
        for number in range(12):
            eng.services.catalog.save_checkpoint(
                f"m{number}", _wide(eng), "d", 1, np.full(2**20, number, np.uint8).tobytes()
            )
    tracemalloc.start()
    copy_collection(source, target, settings, block_bytes=2 * 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9 * 2**20
    assert digests(source, settings)["checkpoints"][0] == 12
    assert digests(source, settings) == digests(target, settings)


def _wide(eng: Engine) -> int:
    from engine.records import EncoderIdentity

    return eng.services.catalog.register_encoder(EncoderIdentity("external:wide", "f" * 64, 8, 1.0, frozenset()))
