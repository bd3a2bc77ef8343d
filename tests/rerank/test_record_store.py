"""The factor store: what it finds, what it must not, and what is left of it by damage, kills and other processes."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CorruptData, DiskFull, StorageError
from engine.rerank import record_file as files
from engine.rerank.byte_cache import ByteCache
from engine.rerank.record_file import RecordKey
from engine.rerank.record_store import RecordStore
from engine.rerank.record_table import GOOD, RecordTable

SIZE = 128
KEY = RecordKey("collection", "encoder", 4, "", "0.6 v1", "")
ROTATION = np.eye(4, dtype=np.float32)


def record(model_id: int, change: int) -> files.Records:
    return np.random.default_rng([model_id, change]).integers(0, 256, SIZE, np.uint8)


def opened(root: Path, *, key: RecordKey = KEY, budget: int = 10**6, memory: int = 10**6) -> RecordStore:
    store = RecordStore(root, key, budget=budget, memory=ByteCache(memory))
    if store.rotation is None:
        store.start(ROTATION)
    return store


def append(store: RecordStore, versions: dict[int, int], living: dict[int, int] | None = None) -> int:
    return store.append({i: record(i, c) for i, c in versions.items()}, living or versions)


def ask(store: RecordStore, versions: dict[int, int]) -> list[int]:
    """Asks for models, checks every byte of the answers, and tells which had to be made."""
    made: list[int] = []

    def make(ids: list[int]) -> dict[int, files.Records]:
        made.extend(ids)
        return {i: record(i, versions[i]) for i in ids}

    found = find(store, versions, make)
    assert found == {i: record(i, c).tobytes() for i, c in versions.items()}
    return made


def find(store: RecordStore, versions: dict[int, int], make: Any) -> dict[int, bytes]:
    """The bytes at the addresses that were found, by model."""
    ids = np.array(list(versions), np.int64)
    found = store.find(ids, np.array(list(versions.values()), np.int64), make)
    places = zip(ids.tolist(), found.addresses.tolist(), found.sizes.tolist(), strict=True)
    return {i: ctypes.string_at(address, size) for i, address, size in places if address}


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("*.factors"))


def test_what_was_appended_is_found_by_the_next_process(tmp_path: Path) -> None:
    versions = {1: 10, 2: 11, 7: 12}
    assert append(opened(tmp_path), versions) == 3
    store = opened(tmp_path)
    assert store.rotation is not None
    assert store.rotation.tolist() == ROTATION.tolist()
    assert ask(store, versions) == []
    assert (store.counts.mapped, store.counts.missed) == (3, 0)
    assert store.lacks({**versions, 8: 13}) == [8]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(1, 30), st.tuples(st.integers(1, 3), st.sampled_from([0, 1, 2])), max_size=20),
    st.lists(st.tuples(st.integers(0, 32), st.integers(1, 3)), max_size=12),
)
def test_records_are_located_by_id_change_and_state(
    there: dict[int, tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    ids = sorted(there)
    table = SimpleNamespace(
        ids=np.array(ids, np.int64),
        changes=np.array([there[i][0] for i in ids], np.int64),
        state=np.array([there[i][1] for i in ids], np.uint8),
        addresses=np.array([1000 + i for i in ids], np.uint64),
        sizes=np.array([2000 + i for i in ids], np.int64),
    )
    wanted = np.array(asked, np.int64).reshape(-1, 2)
    addresses, sizes = np.zeros(len(asked), np.uint64), np.zeros(len(asked), np.int64)
    others = np.full(len(asked), -1, np.int64)
    found, left = RecordTable.locate(
        table, *map(np.ascontiguousarray, wanted.T), addresses, sizes, others  # type: ignore[arg-type]
    )  # fmt: skip
    good = [change == there.get(i, (0, 0))[0] and there[i][1] == GOOD for i, change in asked]
    unread = [ids.index(i) for i, change in asked if i in there and there[i] in ((change, 0), (change, 2))]
    assert addresses.tolist() == [1000 + i if ok else 0 for (i, _), ok in zip(asked, good, strict=True)]
    assert sizes.tolist() == [2000 + i if ok else 0 for (i, _), ok in zip(asked, good, strict=True)]
    assert (found, others[:left].tolist()) == (sum(good), unread)


def test_another_change_is_a_miss(tmp_path: Path) -> None:
    store = opened(tmp_path)
    append(store, {1: 10, 2: 11})
    assert ask(store, {1: 12, 2: 11}) == [1]
    assert ask(store, {1: 12, 2: 11}) == []  # it is held now
    assert (store.counts.mapped, store.counts.held, store.counts.missed) == (2, 1, 1)
    assert store.lacks({1: 12, 2: 11}) == [1]


def test_what_another_process_dropped_has_no_place_and_size(tmp_path: Path) -> None:
    store = opened(tmp_path)
    append(store, {1: 10, 2: 11})
    append(opened(tmp_path), {3: 12}, {1: 10, 3: 12})  # 2 is gone from the file, which is noticed by 3 being there
    found = store.find(np.array([1, 2, 3]), np.array([10, 11, 12]), lambda ids: {})
    assert (found.addresses != 0).tolist() == [True, False, True]
    assert found.sizes.tolist() == [SIZE, 0, SIZE]


def test_a_model_that_cannot_be_made_is_absent(tmp_path: Path) -> None:
    assert find(opened(tmp_path), {5: 1}, lambda ids: {}) == {}


def test_what_is_held_is_bounded_and_goes_by_recency(tmp_path: Path) -> None:
    store = opened(tmp_path, memory=2 * SIZE)
    for model in (1, 2, 1, 3):
        ask(store, {model: 1})
    assert ask(store, {1: 1}) == []
    assert ask(store, {2: 1}) == [2]


def test_the_budget_bounds_the_file(tmp_path: Path) -> None:
    store = opened(tmp_path, budget=3 * SIZE + 1)
    assert store.lacks(dict.fromkeys(range(9), 1), SIZE) == [0, 1, 2]
    assert append(store, dict.fromkeys(range(5), 1)) == 3
    assert append(store, {7: 1}, dict.fromkeys(range(9), 1)) == 0
    assert ask(store, dict.fromkeys(range(5), 1)) == [3, 4]
    assert append(store, {7: 1}, {0: 1, 1: 1, 7: 1}) == 1  # model 2 has gone and made room
    assert len(store) == 3


def test_the_dead_are_dropped_and_their_bytes_too(tmp_path: Path) -> None:
    store = opened(tmp_path)
    append(store, dict.fromkeys(range(20), 1))
    assert ask(store, {19: 1}) == []
    append(store, {}, dict.fromkeys(range(5), 1))
    assert len(store) == 5
    assert sum(path.stat().st_size for path in segments(tmp_path)) == 5 * SIZE
    assert ask(opened(tmp_path), dict.fromkeys(range(5), 1)) == []


def test_many_appends_leave_few_segments(tmp_path: Path) -> None:
    store = opened(tmp_path)
    living = {}
    for model in range(64):
        living[model] = 1
        append(store, {model: 1}, living)
    assert len(segments(tmp_path)) <= 7
    assert ask(opened(tmp_path), living) == []


def test_a_factor_that_is_held_outlives_its_segment(tmp_path: Path) -> None:
    store = opened(tmp_path)
    append(store, {1: 1})
    mine = store.find(np.array([1]), np.array([1]), lambda ids: {})
    append(store, {2: 1}, {1: 1, 2: 1})
    append(store, {}, {2: 1})
    assert ctypes.string_at(int(mine.addresses[0]), SIZE) == record(1, 1).tobytes()


@pytest.mark.parametrize(
    "other", [{"encoder": "b"}, {"epsilon": "1e-3"}, {"shrinkage": "0.5 v1"}, {"transform": "t"}, {"collection": "b"}]
)
def test_another_key_is_another_file(tmp_path: Path, other: dict[str, Any]) -> None:
    append(opened(tmp_path), {1: 1})
    key = replace(KEY, **other)
    store = RecordStore(tmp_path, key, budget=10**6, memory=ByteCache(0))
    assert store.rotation is None
    store.start(ROTATION)
    assert ask(store, {1: 1}) == [1]
    append(store, {1: 1})
    assert ask(opened(tmp_path, key=key), {1: 1}) == []
    assert len(segments(tmp_path)) == 1  # the old one's is removed


def test_another_basis_is_begun_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    append(store, {1: 1})
    store.start(-ROTATION)
    assert ask(store, {1: 1}) == [1]


@pytest.mark.parametrize("place", [0, 63, SIZE - 1])
def test_a_flipped_byte_is_found_before_it_is_used(
    tmp_path: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    append(opened(tmp_path), {1: 1, 2: 1, 3: 1})
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[SIZE + place] ^= 1
    path.write_bytes(data)
    store = opened(tmp_path)
    assert ask(store, {1: 1, 2: 1, 3: 1}) == [2]
    assert store.counts.damaged == 1
    assert "model id 2" in caplog.text
    append(store, {2: 1}, {1: 1, 2: 1, 3: 1})
    assert ask(opened(tmp_path), {1: 1, 2: 1, 3: 1}) == []


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["*.factors", "*.rotation", "FACTORS"]), where=st.floats(0, 1, exclude_max=True),
    flip=st.integers(0, 255),
)  # fmt: skip
def test_no_damage_to_any_file_is_ever_answered(
    tmp_path_factory: pytest.TempPathFactory, kind: str, where: float, flip: int
) -> None:
    root = tmp_path_factory.mktemp("store")
    versions = {1: 5, 2: 6, 3: 7}
    append(opened(root), versions)
    (path,) = root.glob(kind)
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if flip:
        content[place] ^= flip
    else:
        del content[place:]
    path.write_bytes(content)
    store = opened(root)
    assert ask(store, versions)  # something is made again, and every answer is right: see ``ask``
    append(store, {i: versions[i] for i in store.lacks(versions)}, versions)
    assert ask(opened(root), versions) == []


def test_records_that_changed_places_are_found_out(tmp_path: Path) -> None:
    append(opened(tmp_path), {1: 1, 2: 1})
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[SIZE:] + data[:SIZE])
    assert sorted(ask(opened(tmp_path), {1: 1, 2: 1})) == [1, 2]


@pytest.mark.parametrize("fails_at", range(6))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, code: int
) -> None:
    store = opened(tmp_path)
    append(store, {1: 1})
    real, calls = os.fsync, [0]

    def failing(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == fails_at + 1:
            raise OSError(code, "no")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", failing)
    if fails_at < 5:
        with pytest.raises(DiskFull if code == errno.ENOSPC else StorageError):
            append(store, {2: 1}, {1: 1, 2: 1})
    else:
        append(store, {2: 1}, {1: 1, 2: 1})
    assert ask(opened(tmp_path), {1: 1}) == []
    assert not list(tmp_path.glob("*.beside"))
    monkeypatch.undo()
    append(store, {2: 1}, {1: 1, 2: 1})
    assert ask(opened(tmp_path), {1: 1, 2: 1}) == []


def test_what_killed_writers_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    store = opened(tmp_path)
    append(store, {1: 1})
    left, fresh = tmp_path / "left.factors", tmp_path / "fresh.factors"
    for path in (left, fresh):
        path.write_bytes(b"x" * SIZE)
    os.utime(left, (0, 0))
    append(store, {2: 1}, {1: 1, 2: 1})
    assert not left.exists()
    assert fresh.exists()


def test_two_processes_append_beside_one_another(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    living = {1: 1, 2: 1}
    append(first, {1: 1}, living)
    append(second, {2: 1}, living)
    assert ask(opened(tmp_path), living) == []
    first.refresh()
    assert ask(first, living) == []


def test_what_another_key_has_removed_is_not_named_again(tmp_path: Path) -> None:
    """Two processes of different keys, as when a whitening is fitted anew: the first still has its segments mapped."""
    first = opened(tmp_path)
    append(first, {1: 1, 2: 1})
    append(opened(tmp_path, key=replace(KEY, shrinkage="0.6 v2")), {1: 1})
    first.append({3: record(3, 1)}, {1: 1, 2: 1, 3: 1}, settle=False)
    directory = files.read_directory(tmp_path, KEY)
    assert directory is not None
    assert list(files.damaged_records(tmp_path, directory)) == []
    assert ask(opened(tmp_path), {1: 1, 2: 1, 3: 1}) == []


def _appends(root: Path, number: int) -> None:
    store = opened(root)
    for i in range(12):
        append(store, {100 * number + i: 1}, dict.fromkeys((100 * n + i for n in range(4) for i in range(12)), 1))


def test_many_processes_append_and_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=_appends, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert ask(opened(tmp_path), dict.fromkeys((100 * n + i for n in range(4) for i in range(12)), 1)) == []


def test_who_waits_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    append(store, {1: 1})
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with files.writing(tmp_path), pytest.raises(StorageError, match="another process has been writing"):
        append(store, {2: 1}, {1: 1, 2: 1})
    append(store, {2: 1}, {1: 1, 2: 1})
    assert ask(opened(tmp_path), {1: 1, 2: 1}) == []


def test_threads_ask_while_one_appends(tmp_path: Path) -> None:
    store = opened(tmp_path, memory=3 * SIZE)
    living = dict.fromkeys(range(40), 1)
    failures: list[BaseException] = []

    def asking(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(50):
                ask(store, {int(i): 1 for i in random.choice(40, 7, replace=False)})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=asking, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for model in range(0, 40, 4):
        append(store, dict.fromkeys(range(model, model + 4), 1), living)
    for thread in threads:
        thread.join()
    assert not failures
    assert ask(store, living) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda line: b"\xff" + line,
        lambda line: b"[" * 5000,
        lambda line: b"7",
        lambda line: line.replace(b'"segments"', b'"pieces"'),
        lambda line: line.replace(b'"encoder"', b'"coder"'),
        lambda line: line.replace(b'"dimension": 4', b'"dimension": "4"'),
        lambda line: line.replace(b".rotation", b"/../x.rotation"),
        lambda line: line[: line.index(b'"segments"')] + b'"segments": []}',
        lambda line: line + b"\n" + bytes(5),
    ],
)
def test_a_directory_that_is_nonsense_with_the_right_checksum(tmp_path: Path, change: Any) -> None:
    """Written by something else: it is built again, and what an error says is ours."""
    append(opened(tmp_path), {1: 10, 2: 11})
    line, _, table = (tmp_path / files.DIRECTORY).read_bytes()[:-32].partition(b"\n")
    body = change(line) + b"\n" + table
    (tmp_path / files.DIRECTORY).write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(CorruptData, match="factor directory"):
        files.read_any_directory(tmp_path)
    assert ask(opened(tmp_path), {1: 10, 2: 11}) == [1, 2]


@pytest.mark.parametrize("text", ['{"mapped": 1e999}', "[" * 100_000, '{"mapped": [1]}', "7", "\xff"])
def test_counts_that_are_nonsense_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / files.COUNTS).write_text(text, encoding="latin-1")
    assert files.read_counts(tmp_path) == {}
