"""Snapshots: published whole or not at all, and never trusted further than their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import CorruptData, DiskFull, StorageError
from engine.index import FlatIndex
from engine.index import snapshot as snapshots
from engine.index.manifest import manifest_to_text, signed
from engine.scores import unit

ROOT = Path(__file__).resolve().parents[2]
D = 16


def index_of(n: int, seed: int = 0) -> FlatIndex:
    rows = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return FlatIndex.build(np.arange(n) + 1, unit(rows).reshape(n, D), dimension=D)


def publish(root: Path, index: FlatIndex, change: int = 1) -> snapshots.SnapshotManifest:
    return snapshots.publish(
        root, index, collection="c", encoder="external:a", fingerprint="f", space="first_moment", version="",
        change=change, dimension=D,
    )  # fmt: skip


def read(root: Path) -> FlatIndex:
    manifest = snapshots.read_manifest(root)
    assert manifest is not None
    index = snapshots.load(root, manifest)
    assert isinstance(index, FlatIndex)
    return index


def generations(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_what_is_published_is_loaded(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet" / "there"
    assert snapshots.read_manifest(root) is None
    index = index_of(9)
    published = publish(root, index, change=42)
    assert snapshots.read_manifest(root) == published
    assert (published.collection, published.encoder, published.fingerprint) == ("c", "external:a", "f")
    assert (published.kind, published.dimension, published.models, published.change) == ("flat", D, 9, 42)
    loaded = read(root)
    np.testing.assert_array_equal(loaded.ids, index.ids)
    np.testing.assert_array_equal(loaded.vectors(loaded.ids), index.vectors(index.ids))


def test_an_empty_index_is_published_too(tmp_path: Path) -> None:
    publish(tmp_path, index_of(0))
    assert len(read(tmp_path)) == 0


def test_old_generations_are_removed(tmp_path: Path) -> None:
    for change in range(1, 5):
        publish(tmp_path, index_of(change), change)
    assert len(generations(tmp_path)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [*sorted(["CURRENT.json", *generations(tmp_path)])]
    assert len(read(tmp_path)) == 4


def test_what_a_killed_publisher_left_is_removed_in_time(tmp_path: Path) -> None:
    left = tmp_path / "000000000001-deadbeef"
    left.mkdir()
    (left / "vectors.npy").write_bytes(b"half")
    (tmp_path / ".CURRENT.json.000000000001-deadbeef").write_text("{")
    long_ago = 1_000_000_000
    for path in (left, tmp_path / ".CURRENT.json.000000000001-deadbeef"):
        os.utime(path, (long_ago, long_ago))
    publish(tmp_path, index_of(3))
    assert len(generations(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["CURRENT.json"]


def test_a_publisher_leaves_another_ones_work_alone(tmp_path: Path, monkeypatch) -> None:
    """Two processes publish at once: the one that ends first must not take the other's files away."""
    real = FlatIndex.save

    def save_while_another_publishes(self: FlatIndex, folder: Path) -> None:
        real(self, folder)
        monkeypatch.setattr(FlatIndex, "save", real)
        publish(tmp_path, index_of(3), change=2)

    monkeypatch.setattr(FlatIndex, "save", save_while_another_publishes)
    publish(tmp_path, index_of(5), change=3)
    assert len(read(tmp_path)) == 5


# --- damage


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [damage_flip, damage_truncate, damage_empty, damage_grow, Path.unlink, damage_folder]


@pytest.mark.parametrize("name", ["vectors.npy", "ids.npy"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_noticed(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    manifest = publish(tmp_path, index_of(9))
    damage(tmp_path / manifest.generation / name)
    with pytest.raises(CorruptData, match=name):
        snapshots.load(tmp_path, manifest)
    publish(tmp_path, index_of(2), change=2)
    assert len(read(tmp_path)) == 2


def test_every_bit_of_the_manifest_matters_or_changes_nothing(tmp_path: Path) -> None:
    good = publish(tmp_path, index_of(3))
    path = tmp_path / "CURRENT.json"
    text = path.read_bytes()
    refused = 0
    for place in range(len(text)):
        for bit in (1, 4, 32):
            path.write_bytes(text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :])
            try:
                assert snapshots.read_manifest(tmp_path) == good  # as a space that became another white space
            except CorruptData:
                refused += 1
    assert refused > 2.5 * len(text)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "5", '"x"', "{}", '{"format": 1}', "\xff\xfe", "[" * 100_000])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "CURRENT.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptData, match="manifest"):
        snapshots.read_manifest(tmp_path)


def test_a_manifest_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "CURRENT.json").mkdir()
    with pytest.raises(CorruptData, match="manifest"):
        snapshots.read_manifest(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1}, {"format": "2"}, {"format": None}, {"space": 1}, {"version": None},
        {"kind": "other"}, {"kind": []}, {"kind": None},
        {"dimension": "16"}, {"dimension": -1}, {"dimension": 17}, {"dimension": True}, {"models": 8}, {"models": "9"},
        {"change": "1"}, {"change": None}, {"change": -1}, {"generation": 5}, {"generation": None},
        {"generation": ""}, {"generation": "."}, {"generation": ".."}, {"generation": "../other"},
        {"generation": "/etc"}, {"generation": "a\x00b"}, {"generation": "\ud800"},
        {"files": []}, {"files": None}, {"files": {}},
        {"files": {"vectors.npy": None}}, {"files": {"../secret": "x"}}, {"files": {"/etc/passwd": "x"}},
        {"files": {"..": "x"}}, {"files": "vectors.npy"}, {"collection": 5}, {"fingerprint": []}, {"extra": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_with_a_wrong_field(tmp_path: Path, changes: dict) -> None:
    publish(tmp_path, index_of(9))
    path = tmp_path / "CURRENT.json"
    path.write_text(signed({**json.loads(path.read_text()), **changes}))

    def open_it() -> None:
        manifest = snapshots.read_manifest(tmp_path)
        assert manifest is not None
        snapshots.load(tmp_path, manifest)

    with pytest.raises(CorruptData):
        open_it()


def test_no_file_outside_the_folder_is_read(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    publish(root, index_of(9))
    shutil.copytree(root / generations(root)[0], outside)
    path = root / "CURRENT.json"
    manifest = json.loads(path.read_text())
    for generation in ("../outside", str(outside), "x/../../outside"):
        path.write_text(signed({**manifest, "generation": generation}))
        with pytest.raises(CorruptData, match="outside"):
            snapshots.read_manifest(root)


def fake_vectors(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "vectors.npy", array)


def fake_ids(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "ids.npy", array)


def pickled(folder: Path) -> None:
    np.save(folder / "ids.npy", np.array([{"a": 1}], object), allow_pickle=True)


def zipped(folder: Path) -> None:
    np.savez(folder / "x.npz", a=np.ones(3))
    (folder / "x.npz").rename(folder / "vectors.npy")


@pytest.mark.parametrize(
    "forge",
    [
        fake_vectors(np.ones((9, D), np.float64)), fake_vectors(np.ones((9, D + 1), np.float32)),
        fake_vectors(np.ones(9, np.float32)), fake_vectors(np.ones((8, D), np.float32)),
        fake_vectors(np.full((9, D), np.nan, np.float32)), fake_ids(np.arange(8)), fake_ids(np.arange(9.0)),
        fake_ids(np.zeros(9, np.int64)), fake_ids(np.arange(9).reshape(3, 3)), fake_ids(np.array(["a"] * 9)),
        fake_ids(np.arange(9) - 1), pickled, zipped, lambda folder: (folder / "ids.npy").write_bytes(b""),
        lambda folder: (folder / "ids.npy").write_bytes(b"garbage"),
    ],
)  # fmt: skip
def test_a_forged_snapshot_with_the_right_checksums(tmp_path: Path, forge: Callable[[Path], None]) -> None:
    manifest = publish(tmp_path, index_of(9))
    folder = tmp_path / manifest.generation
    forge(folder)
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest.files}
    path = tmp_path / "CURRENT.json"
    path.write_text(manifest_to_text(replace(manifest, files=files)))
    forged = snapshots.read_manifest(tmp_path)
    assert forged is not None
    with pytest.raises(CorruptData):
        snapshots.load(tmp_path, forged)


# --- places that cannot be written


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("not a folder")
    with pytest.raises(StorageError, match="could not be written"):
        publish(tmp_path / "index", index_of(3))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_old_snapshot(small_disk: Path) -> None:
    publish(small_disk, index_of(9))
    before = sorted(path.name for path in small_disk.rglob("*"))
    with pytest.raises(DiskFull, match="could not be written"):
        publish(small_disk, index_of(40_000), change=2)
    assert len(read(small_disk)) == 9
    assert sorted(path.name for path in small_disk.rglob("*")) == before


def test_a_full_disk_at_the_last_step_keeps_the_old_snapshot(tmp_path: Path, monkeypatch) -> None:
    publish(tmp_path, index_of(9))
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(DiskFull):
        publish(tmp_path, index_of(4), change=2)
    assert len(read(tmp_path)) == 9
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


KILL = """
import os, signal, sys
from pathlib import Path
import numpy as np
from engine.index import FlatIndex, snapshot as snapshots
steps = 0
def wrap(owner, name):
    real = getattr(owner, name)
    def step(*arguments, **named):
        global steps
        steps += 1
        if steps == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(owner, name, step)
wrap(snapshots, "sync"); wrap(snapshots, "file_checksum"); wrap(snapshots, "_remove_others"); wrap(Path, "replace")
index = FlatIndex.build(np.arange(2), np.eye(2, 16, dtype=np.float32), dimension=16)
named = dict(
    collection="c", encoder="external:a", fingerprint="f", space="first_moment", version="", change=2, dimension=16
)
snapshots.publish(Path(sys.argv[1]), index, **named)
"""


@pytest.mark.parametrize("step", [1, 4, 6, 7, 8, 9])
def test_a_killed_publisher_leaves_the_old_snapshot_or_the_new(tmp_path: Path, step: int) -> None:
    publish(tmp_path, index_of(9))
    killed = subprocess.run(
        [sys.executable, "-c", KILL, str(tmp_path), str(step)], cwd=ROOT, check=False, capture_output=True
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(read(tmp_path)) == (9 if step <= 7 else 2)
