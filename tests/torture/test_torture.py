"""Each section of the torture, a few seconds of it; and that the harness notices what it is there to notice."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.config import Settings
from engine.index import snapshot as snapshots
from engine.index.flat import FlatIndex
from engine.records import EncoderRef
from engine.search.spaces import IDENTITY
from engine.storage import blobs
from tests.torture import __main__ as command
from tests.torture import content, faults
from tests.torture.audit import audit
from tests.torture.child import COMMIT, SQL, Doom, nursery, work
from tests.torture.concurrency import concurrency
from tests.torture.history import History, Reading, Search, Write
from tests.torture.kills import kills
from tests.torture.operations import Entry, Operation, State, opened, stages
from tests.torture.resumption import Resumption
from tests.torture.tally import Tally
from tests.torture.threads import threads
from tests.torture.truth import Row, densities, disagreement, read_truth


def hush(_: str) -> None:
    """Progress that nobody reads."""


def assert_clean(tally: Tally) -> None:
    assert (tally.losses, tally.wrong, tally.untyped) == ([], [], [])


# --- every section, a little of it


def test_kills(tmp_path: Path, backend: str) -> None:
    tally = kills(tmp_path, backend, 4, 1, hush, ("bulk", "pictures", "factors", "migrate"))
    assert_clean(tally)
    assert tally.done["kills"] == 4
    assert sum(count for what, count in tally.done.items() if what != "kills") == 4


@pytest.mark.parametrize("fault", [faults.limited_file, faults.read_only, faults.locked])
def test_faults(tmp_path: Path, fault: Callable[[Path, Tally], None]) -> None:
    tally = Tally("faults")
    fault(tmp_path, tally)
    assert_clean(tally)
    assert tally.done["faults"] == 1
    assert tally.done["typed errors"] > 0


def test_a_full_disk(tmp_path: Path) -> None:
    if not faults.can_mount(tmp_path):
        pytest.skip("mounting a small file system needs root")
    tally = Tally("faults")
    faults.full_database(tmp_path, tally)
    assert_clean(tally)


def test_resumption(tmp_path: Path, backend: str) -> None:
    tally = Tally("resumption", {"kills": 0, "resumed from a checkpoint": 0})
    harness = Resumption(tmp_path, backend, 2, tally, ["tar"])
    for number in range(3):
        harness.round("tar", number)
    assert_clean(tally)
    assert tally.done["kills"] >= 3
    harness.reference["tar"][0] = (0, *harness.reference["tar"][0][1:])
    harness.round("tar", 9)
    assert "other bytes" in tally.wrong[-1]


def test_concurrency(tmp_path: Path, backend: str) -> None:
    tally = concurrency(tmp_path, backend, 8, 1, hush)
    assert_clean(tally)
    assert tally.done["writes"] >= 4, "more than nothing"
    assert tally.done["searches"] > 4


def test_threads(tmp_path: Path) -> None:
    tally = threads(tmp_path, 2, 1, hush)
    assert_clean(tally)
    assert tally.done["searches"] > 8


# --- a worker ends where it is told to


@pytest.mark.parametrize(("kind", "there"), [(COMMIT, None), (SQL, False)])
def test_a_worker_dies_at_its_boundary(tmp_path: Path, kind: str, there: bool | None) -> None:
    url, settings = f"sqlite:///{tmp_path / 'zoo.db'}", Settings(index_folder=str(tmp_path / "index"))
    opened(url, settings, create=True).close()
    context = nursery()
    mine, its = context.Pipe(duplex=False)
    plan = [Operation("features", ("fox",), 1), Operation("features", ("owl",), 2)]
    worker = context.Process(target=work, args=(url, settings, plan, its, Doom(1, kind, 1), False))
    worker.start()
    its.close()
    said = []
    try:
        while True:
            said.append(json.loads(mine.recv_bytes())[:2])
    except EOFError:
        pass
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert said == [["open"], ["began", 0], ["done", 0], ["began", 1]]
    names = set(read_truth(url).rows)
    assert "fox" in names
    assert there is None or ("owl" in names) is there


def test_the_states_that_a_kill_may_leave() -> None:
    before: State = {"a": Entry(("features", 1, 40), ("x",), "said", 7)}
    names = tuple(f"b{i}" for i in range(10))
    found = stages(before, Operation("bulk", ("a", *names), 50, ("t",)))
    assert [len(state) for state in found] == [1, 8, 11]
    assert found[-1]["a"] == Entry(("features", 50, 40), ("t",), "said", 7)
    assert stages(before, Operation("remove", ("a",)))[-1] == {}
    assert stages(before, Operation("rename", ("a",), 0, ("c",)))[-1] == {"c": before["a"]}
    assert stages(before, Operation("build")) == [before]


# --- the audit can fail


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """Five models that are as they should be, and whose audit finds nothing."""
    folder = tmp_path_factory.mktemp("made") / "zoo"
    folder.mkdir()
    url, settings = f"sqlite:///{folder / 'zoo.db'}", Settings(index_folder=str(folder / "index"))
    with opened(url, settings, create=True) as eng:
        for number in range(5):
            eng.ingest(content.features(number), name=f"m{number}")
        eng.build_index()
    state: State = {f"m{number}": Entry(("features", number, 40)) for number in range(5)}
    settled, found = audit(url, settings, [state], 1, publish=True)
    assert found.is_clean, found
    return folder, settled


@pytest.fixture
def zoo(made: tuple[Path, State], tmp_path: Path) -> tuple[str, Settings, State]:
    """A copy of them."""
    shutil.copytree(made[0], tmp_path / "zoo")
    settings = Settings(index_folder=str(tmp_path / "zoo" / "index"))
    return f"sqlite:///{tmp_path / 'zoo' / 'zoo.db'}", settings, made[1]


def run(url: str, *statements: str) -> None:
    """SQL behind the engine's back."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


PLANTED = {
    "a flipped byte": (
        "UPDATE statistics SET covariance = CAST(substr(covariance, 1, 99) || X'55' || substr(covariance, 101) AS BLOB)"
        " WHERE model_id = 2", "wrong", "do not match their checksum",
    ),
    "a model that is gone": ("DELETE FROM models WHERE id = 3", "losses", "m2 is gone"),
    "a model without statistics": ("DELETE FROM statistics WHERE model_id = 3", "wrong", "a model without statistics"),
    "statistics without a model": (
        "INSERT INTO statistics SELECT 99, encoder_id, samples, epsilon, mean, covariance, mean_checksum, checksum,"
        " source_digest, quarantined, quarantine, change, neighbours_change, updated_at FROM statistics"
        " WHERE model_id = 1", "wrong", "statistics of no model",
    ),
    "another name": ("UPDATE models SET name = 'x' WHERE id = 1", "losses", "x is there"),
    "another model's id": ("UPDATE models SET description = 'x' WHERE id = 1", "losses", "description"),
    "a dead neighbour": (
        "INSERT INTO neighbours SELECT encoder_id, 'frechet', 1, 77, 0.5 FROM statistics WHERE model_id = 1",
        "wrong", "a similar model that is gone",
    ),
    "a change that is not there": (
        "UPDATE statistics SET change = 99 WHERE model_id = 1", "wrong", "statistics without their change",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("publish", [True, False])
def test_what_is_planted_is_found(zoo: tuple[str, Settings, State], planted: str, publish: bool) -> None:
    url, settings, state = zoo
    statement, kind, said = PLANTED[planted]
    run(url, statement)
    _, found = audit(url, settings, [state], 1, publish=publish)
    assert any(said in one for one in getattr(found, kind)), found


def test_other_content_under_a_right_checksum_is_found(zoo: tuple[str, Settings, State]) -> None:
    url, settings, state = zoo
    wrong = content.moments(900)
    mean, covariance = np.float32(wrong.mean), np.float32(wrong.covariance)
    data = blobs.mean_to_blob(mean), blobs.covariance_to_blob(covariance)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute(
            "UPDATE statistics SET mean = ?, covariance = ?, mean_checksum = ?, checksum = ? WHERE model_id = 1",
            (*data, blobs.checksum(data[0]), blobs.checksum(data[0], data[1] or b"")),
        )
        connection.commit()
    _, found = audit(url, settings, [state], 1, publish=False)
    assert any("m0: another mean" in one for one in found.losses)
    assert any("brute force" in one for one in found.wrong), "the index still has the old mean"


def test_a_snapshot_with_a_wrong_id_is_found(zoo: tuple[str, Settings, State]) -> None:
    """Published properly, checksums and all: only a comparison with the database can tell."""
    url, settings, state = zoo
    with opened(url, settings) as eng:
        encoder_id, identity = eng.services.session.encoder()
        view = eng.services.views.current(EncoderRef(encoder_id, identity), IDENTITY)
        ids = view.index.ids.copy()
        vectors = view.index.vectors(ids)
        ids[2] = 77
        snapshots.publish(
            eng.services.views.folder(identity), FlatIndex.build(ids, vectors, dimension=identity.dimension),
            collection=eng.services.catalog.facts()["id"], encoder=identity.name, fingerprint=identity.fingerprint,
            space="first_moment", version="", change=view.change, dimension=identity.dimension,
        )  # fmt: skip
        eng.services.views._views.clear()
    _, found = audit(url, settings, [state], 1, publish=False)
    assert any("disagree about model id 77" in one for one in found.wrong)
    assert any("ids [77]" in one for one in found.wrong), "searches answer with it"


def test_a_reused_id_and_a_removed_model_are_found(zoo: tuple[str, Settings, State]) -> None:
    url, settings, state = zoo
    state = {**state, "m1": replace(state["m1"], id=None)}
    _, found = audit(url, settings, [state], 1, publish=True, newest_id=9)
    assert found.losses == ["m1: id 2, which another model had"]
    without = {name: entry for name, entry in state.items() if name != "m1"}
    _, found = audit(url, settings, [without], 1, publish=True)
    assert found.losses == ["m1 is there, and must not be"]


def test_a_half_done_operation_is_found(zoo: tuple[str, Settings, State]) -> None:
    """Neither the state before nor the one after it."""
    url, settings, state = zoo
    with opened(url, settings) as eng:
        eng.ingest(content.features(61), name="b1")
    possible = stages(state, Operation("bulk", ("b0", "b1"), 60))
    _, found = audit(url, settings, possible, 1, publish=True)
    assert found.losses


# --- brute force can disagree


def rows(count: int) -> list[Row]:
    found = []
    for number in range(count):
        own = content.moments(number)
        found.append(Row(number + 1, f"m{number}", None, {}, (), 40, 1e-4, own.mean, own.covariance, (b"", None)))
    return found


@pytest.mark.parametrize(
    ("scores", "ids", "said"),
    [
        ([0.9, 0.5], [1, 2], None),
        ([0.5, 0.9], [1, 2], "by brute force"),
        ([0.9, 0.1], [1, 3], "not the 2 best"),
        ([0.9, 0.5], [1, 9], "does not have"),
        ([0.9, 0.9], [1, 1], "came twice"),
        ([0.9, 0.5, 0.1, 0.0], [1, 2, 3, 4], "3 models can be answered"),
    ],
)
def test_an_answer_that_is_not_the_brute_force_one(scores: list[float], ids: list[int], said: str | None) -> None:
    expected = np.array([0.9, 0.5, 0.1])
    found = disagreement("x", rows(3), expected, np.array(scores), np.array(ids), 1e-6)
    assert found is None if said is None else found is not None and said in found


def test_the_brute_force_density_is_the_textbooks() -> None:
    row = replace(rows(1)[0], mean=np.zeros(2), covariance=np.diag([0.25, 4.0]), epsilon=0.0)
    query = np.array([0.5, 2.0], np.float32)
    expected = -np.log(2 * np.pi) - 0.5 * (1 + 1)
    np.testing.assert_allclose(densities([row], query, None, 0.8), [expected])


# --- a history can be impossible

PUT = Write("put", "fox", 1.0, 2.0, id=4, seed=11)
GONE = Write("remove", "fox", 5.0, 6.0, id=4)


def asked(began: float, ended: float, ids: tuple[int, ...], method: str = "blend", lag: float = 0.0) -> Search:
    return Search(method, began, ended, 1, ids, tuple(0.0 for _ in ids), lag, complete=True)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (asked(3, 4, (4,)), None),
        (asked(3, 4, ()), "was there all the time"),
        (asked(1.5, 4, ()), None),
        (asked(3, 5.5, ()), None),
        (asked(5.5, 7, (4,)), None),
        (asked(6.5, 7, (4,)), "removed 0.500 s before"),
        (asked(6.5, 7, (4,), lag=1.0), None),
        (asked(0.2, 0.5, (4,)), "had not begun"),
        (asked(3, 4, (4, 5)), "never committed"),
        (asked(3, 4, (4, 4)), "came twice"),
        (asked(3, 4, (4,), "first_moment"), "score of no content"),
    ],
)
def test_searches_that_cannot_be(search: Search, said: str | None) -> None:
    found = History([PUT, GONE], [search]).impossible()
    assert found == [] if said is None else any(said in one for one in found)


def test_counters_that_cannot_be() -> None:
    counts = [Write("count", "counter", t, t + 0.5, seed=t, field="author") for t in (1, 2, 3)]
    for value, possible in ((1, False), (2, True), (3, True), (9, False)):
        found = History(counts, [], [Reading("author", value, 2.6, 3.2)]).impossible()
        assert (found == []) is possible


def test_lost_writes_are_found(zoo: tuple[str, Settings, State]) -> None:
    url, settings, _ = zoo
    with opened(url, settings) as eng:
        eng.ingest(content.features(3), name="counter", author="5")
        ids = {model.name: model.id for model in eng.models()}
    puts = [Write("put", f"m{n}", n, n + 0.5, id=ids[f"m{n}"], seed=n) for n in range(5)]
    truth = read_truth(url)
    assert History(puts).lost(truth) == []
    again = Write("put", "m0", 8, 9, id=ids["m0"], seed=77)
    assert "none of the contents" in History([*puts, again]).lost(truth)[0]
    removal = Write("remove", "m1", 8, 9, id=ids["m1"])
    assert "is there" in History([*puts, removal]).lost(truth)[0]
    assert "written by nobody" in History(puts[1:]).lost(truth)[0]
    assert "is gone" in History([*puts, Write("put", "x", 1, 2, id=99, seed=1)]).lost(truth)[0]
    count = Write("count", "counter", 8, 9, seed=6, field="author")
    assert "lost update: author is 5" in History([*puts, count]).lost(truth)[0]


# --- the command


def test_the_command_prints_a_line_a_section_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Tally("good", {"kills": 3}), Tally("bad", {"kills": 2}, losses=["fox is gone"])
    chosen = {"good": lambda folder: good, "bad": lambda folder: bad}
    monkeypatch.setattr(command, "sections", lambda options: chosen)
    assert command.main([]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "good: 3 kills; losses 0, silent wrong answers 0, untyped errors 0",
        "bad: 2 kills; losses 1, silent wrong answers 0, untyped errors 0",
        "bad, losses: fox is gone",
    ]
    assert command.main(["--only", "good"]) == 0
    assert command.main(["--only", "nothing"]) == 1


def test_a_section_says_the_same_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert command.main(["--jobs", "2", "--only", "inputs", "--inputs", "40"]) == 0
    (printed,) = capfd.readouterr().out.splitlines()
    assert printed.startswith("inputs: 40 mutated inputs")
    assert printed.endswith("losses 0, silent wrong answers 0, untyped errors 0")
    assert command.main(["--jobs", "2", "--only", "nothing"]) == 1
