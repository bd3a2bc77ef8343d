"""What a search asks of the database, and what is left of an index when the process that built it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from engine import Engine
from engine.index import snapshot as snapshots
from engine.storage import Database

NAMES = ("ant", "bee", "cat", "dog", "eel")
Count = Callable[[], int]


@pytest.fixture
def eng(url: str) -> Iterator[Engine]:
    """Models with moments and samples, of an encoder that takes texts and pictures."""
    rng = np.random.default_rng(5)
    with Engine.open(url, create=True, encoder="compact") as eng:
        for name in NAMES:
            eng.ingest(rng.normal(size=(12, 256)).astype(np.float32) + 1, name=name, tags=["all"])
        yield eng


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The transactions that begin in the block."""
    begun: list[str] = []
    with monkeypatch.context() as patched:
        for kind in ("read", "write", "connection"):

            def watched(self: Database, *given: object, _real: object = getattr(Database, kind), _kind: str = kind,
                        **options: object) -> object:  # fmt: skip
                begun.append(_kind)
                return _real(self, *given, **options)  # type: ignore[operator]

            patched.setattr(Database, kind, watched)
        yield begun


PICTURE = np.zeros((16, 16, 3), np.uint8)
TWICE = {
    "text": {"text": "an ant"},
    "picture": {"image": PICTURE},
    "sketch": {"sketch": PICTURE},
    "several": {"text": "an ant", "image": PICTURE},
    "density": {"image": PICTURE, "method": "gaussian_density"},
    "whitened": {"text": "an ant", "method": "whitened_first_moment"},
}


@pytest.mark.parametrize("query", TWICE.values(), ids=TWICE)
def test_a_search_reads_facts_and_records(eng: Engine, query: dict[str, object], monkeypatch) -> None:
    first = eng.search(**query)
    with counted(monkeypatch) as begun:
        again = eng.search(**query)
    assert begun == ["read", "read"]
    assert [hit.name for hit in again] == [hit.name for hit in first]


def test_a_planned_search_by_vector_reads_nothing(eng: Engine, monkeypatch) -> None:
    query = np.ones(256, np.float32)
    for method in ("first_moment", "gaussian_density", "blend", "whitened_first_moment"):
        for _ in range(2):  # the first may fit the whitening, which is a change
            eng.search_vectors(query, 3, method)
        with counted(monkeypatch) as begun:
            eng.search_vectors(query, 3, method)
        assert begun == []
    eng.services.search._plans = None
    with counted(monkeypatch) as begun:
        eng.search_vectors(query, 3)
    assert len(begun) <= 1


def test_another_process_is_seen_by_the_next_search(eng: Engine, url: str) -> None:
    eng.search(text="an ant")
    with Engine.open(url) as other:
        other.ingest(np.random.default_rng(9).normal(size=(9, 256)).astype(np.float32), name="new")
    assert "new" in {hit.name for hit in eng.search(text="an ant", k=9)}


SEARCH_AND_DIE = """
import os, signal, sys
import numpy as np
from engine import Engine
from engine.search import views
views.LARGE = 5
eng = Engine.open(sys.argv[1])
assert (eng.search_vectors(np.ones(256), 3)[1] >= 0).all()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_index_built_by_a_search_outlives_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    rng = np.random.default_rng(5)
    with Engine.open(url, create=True, encoder="external:test") as eng:
        eng.ingest_statistics(NAMES, rng.normal(size=(5, 256)).astype(np.float32), encoder="external:test", samples=9)
        folder = eng.services.views.folder(eng.encoders()[0])
    assert snapshots.read_manifest(folder) is None
    done = subprocess.run([sys.executable, "-c", SEARCH_AND_DIE, url], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    manifest = snapshots.read_manifest(folder)
    assert manifest is not None
    assert manifest.models == len(NAMES)
