"""An ingest that is killed half way and run again ends with the bytes of one that was not."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHILD = Path(__file__).with_name("ingest_child.py")
COUNT = 300
STORED = (
    "SELECT s.samples, s.mean, s.covariance, s.checksum, s.source_digest, s.quarantine, f.data, "
    "(SELECT group_concat(hex(data)) FROM (SELECT data FROM thumbnails ORDER BY position)) "
    "FROM statistics s JOIN sample_features f USING (model_id, encoder_id)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    for number in range(COUNT):
        Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8)).save(place / f"{number:04d}.png")
    for number in (7, 100, 200):
        (place / f"{number:04d}.png").write_bytes(b"not a picture")
    return place


def run(database: Path, folder: Path) -> list[int]:
    """An ingest to its end; the positions that it reported."""
    command = [sys.executable, str(CHILD), f"sqlite:///{database}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def stored(database: Path) -> list[tuple]:
    with sqlite3.connect(database) as connection:
        return connection.execute(STORED).fetchall()


def kill_after(database: Path, folder: Path, position: int) -> int:
    """Start an ingest, SIGKILL it once it has reported ``position``; the last position seen."""
    command = [sys.executable, str(CHILD), f"sqlite:///{database}", str(folder), "0.03"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    seen = 0
    for line in child.stdout:
        seen = int(line)
        if seen >= position:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return seen


def test_killed_and_run_again_gives_the_same_bytes(folder, tmp_path):
    whole, broken = tmp_path / "whole.db", tmp_path / "broken.db"
    assert run(whole, folder)[0] <= 20
    for position in (60, 150, 210):
        kill_after(broken, folder, position)
        assert not stored(broken), "a half-ingested model is visible"
    positions = run(broken, folder)
    assert positions[0] > 150, "the run began again instead of going on from its checkpoint"
    assert positions[-1] == COUNT
    assert stored(broken) == stored(whole)
    assert stored(whole)[0][0] == COUNT - 3
    with sqlite3.connect(broken) as connection:
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)


def test_a_checkpoint_of_other_content_is_not_used(folder, tmp_path):
    database = tmp_path / "zoo.db"
    kill_after(database, folder, 150)
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in sorted(folder.iterdir()):
        (changed / path.name).write_bytes(path.read_bytes())
    Image.new("RGB", (9, 9), "red").save(changed / "0000.png")
    assert run(database, changed)[0] <= 20
