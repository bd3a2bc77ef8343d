"""A collection whose GPU fails, as its user meets it: all is answered, it is warned once, and status says why."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from engine import Engine
from engine.cli import app
from engine.config import Settings
from engine.index import choose
from engine.scores import unit
from engine.search import views as view_module
from tests.index.gpus import FaultyCard

D, N = 16, 200
ROWS = unit(np.random.default_rng(3).normal(size=(N, D)).astype(np.float32))
SAID = "the GPU was given up: a score is not finite"


class Slot:
    """What is in this machine: each card that is made of it is kept."""

    def __init__(self, *, broken: bool) -> None:
        self.broken = broken
        self.cards: list[FaultyCard] = []

    def __call__(self, matrix: np.ndarray) -> FaultyCard:
        self.cards.append(FaultyCard(matrix, "nan", broken=self.broken))
        return self.cards[-1]


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> Slot:
    slot = Slot(broken=False)
    monkeypatch.setattr(choose, "WORTH", 100)
    for name in ("require_device", "find_device"):
        monkeypatch.setattr(choose, name, lambda: slot)
    monkeypatch.setattr(choose, "any_device", slot)
    return slot


def opened(folder: Path, *, create: bool = False, **settings: str) -> Engine:
    known = Settings(index_folder=str(folder / "index"), refresh_interval=0, **settings)  # type: ignore[arg-type]
    return Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=create, encoder="external:x", settings=known)


def made(folder: Path) -> None:
    with opened(folder, create=True) as eng:
        eng.ingest_statistics([f"m{i:03}" for i in range(N)], ROWS, encoder="external:x", samples=10)
        eng.build_index()


def check(eng: Engine) -> None:
    for row in (3, 77):
        assert eng.search_vectors(ROWS[row], 5)[1].tolist() == (1 + np.argsort(-(ROWS @ ROWS[row]))[:5]).tolist()
        assert [hit.name for hit in eng.search(model=f"m{row:03}", k=1, method="first_moment")]


def status_of(eng: Engine) -> dict[str, object]:
    (status,) = [one for one in eng.index_status() if one["space"] == "first_moment"]
    return status


def test_a_gpu_that_is_wrong_when_built(slot: Slot, tmp_path: Path, caplog) -> None:
    slot.broken = True
    with caplog.at_level(logging.WARNING, "engine.index"):
        made(tmp_path)
    assert len([record for record in caplog.records if SAID in record.message]) == 1
    shown = CliRunner().invoke(
        app, ["index", "status", "--database", f"sqlite:///{tmp_path / 'zoo.db'}"],
        env={"ENGINE_INDEX_FOLDER": str(tmp_path / "index")},
    )  # fmt: skip
    assert f"because {SAID}; 200 models are fewer than 20000" in " ".join(shown.output.split())
    with opened(tmp_path) as eng:
        check(eng)
    assert len(slot.cards) == 1


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ["auto", "gpu"])
def test_a_gpu_that_is_wrong_when_opened(
    slot: Slot, tmp_path: Path, caplog, monkeypatch, kind: str, large: bool
) -> None:
    """What suits the processor takes its place, at once or behind the searches, and is published."""
    made(tmp_path)
    slot.broken = True
    if large:
        monkeypatch.setattr(view_module, "LARGE", 100)
    with caplog.at_level(logging.WARNING, "engine.index"), opened(tmp_path, index_kind=kind) as eng:
        check(eng)
        assert SAID in str(status_of(eng)["why"])
        eng.services.views.wait()
        check(eng)
        assert eng.services.views.held(1).index.live.base.kind == "flat"
    assert len([record for record in caplog.records if SAID in record.message]) == 1
    with opened(tmp_path) as eng:
        status = status_of(eng)
        assert status["kind"] == "flat"
        assert SAID in str(status["why"])
        check(eng)
        slot.broken = False
        eng.build_index()
        assert status_of(eng)["kind"] == "gpu"
        assert "GPU was given up" not in str(status_of(eng)["why"])


@pytest.mark.parametrize("large", [False, True])
def test_a_gpu_that_fails_while_it_serves(slot: Slot, tmp_path: Path, caplog, monkeypatch, large: bool) -> None:
    made(tmp_path)
    if large:
        monkeypatch.setattr(view_module, "LARGE", 100)
    with caplog.at_level(logging.WARNING, "engine.index"), opened(tmp_path) as eng:
        check(eng)
        assert not caplog.records
        asked = len(slot.cards[-1].asked)
        for card in slot.cards:
            card.broken = True
        for _ in range(2):
            assert eng.search_vectors(ROWS[3], 1)[1].tolist() == [4]
            eng.services.views.wait()
        assert len(slot.cards[-1].asked) > asked
        check(eng)
        assert eng.services.views.held(1).index.live.base.kind == "flat"
        assert SAID in str(status_of(eng)["why"])
        eng.ingest_statistics(["late"], -ROWS[:1], encoder="external:x", samples=10)
        assert eng.search_vectors(-ROWS[0], 1)[1].tolist() == [N + 1]
    assert len([record for record in caplog.records if SAID in record.message]) == 1
    assert len(slot.cards) == 2
