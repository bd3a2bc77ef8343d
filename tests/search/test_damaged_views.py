"""Damaged index files: every public call that reads a view answers as if they were whole."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import StorageError
from engine.index import LiveIndex
from engine.index import snapshot as snapshots
from engine.search import IndexViews
from engine.search.plan import PlanRequest
from tests.engine.judged_zoo import MODELS, NAMES, make_zoo
from tests.engine.small_encoder import DIMENSION, ProjectionEncoder

HEADER = 128
"""Bytes before the numbers in a small ``.npy`` file."""
FILES = {"rows": ("fine", "vectors"), "codes": ("long",)}
QUERY = np.random.default_rng(8).normal(size=(2, DIMENSION)).astype(np.float32)
Call = Callable[[Engine, Path], Any]


def opened(folder: Path) -> Engine:
    settings = Settings(index_folder=str(folder / "index"), index_kind="quantized", refresh_interval=0, shortlist=5)
    eng = Engine.open(f"sqlite:///{folder / 'zoo.db'}", settings=settings)
    encoder = ProjectionEncoder()
    eng.services.session.use_encoder(encoder.identity.name, encoder)
    return eng


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with indexes of every space and a map; its lists of similar models are pending."""
    made, folder = make_zoo(tmp_path_factory.mktemp("made")), tmp_path_factory.mktemp("whole")
    for path in made.glob("*.*"):
        shutil.copy(path, folder)
    judged = (folder / "queries.jsonl").read_text().splitlines()
    (folder / "queries.jsonl").write_text("\n".join(line for line in judged if "sketch" in line))
    with opened(folder) as eng:
        for method in ("whitened_first_moment", "linear_density"):
            eng.search_vectors(QUERY, method=method)
        eng.build_index()
        eng.build_map("pca")
        with eng.services.database.write() as session:
            session.execute(text("UPDATE statistics SET neighbours_change = NULL"))
            session.execute(text("DELETE FROM neighbours"))
    return folder


def damage(folder: Path, names: tuple[str, ...]) -> None:
    """Invert every number in those files of every space's index."""
    files = [file for name in names for file in (folder / "index").glob(f"*/*/{name}.npy")]
    assert len(files) == 3 * len(names), "the first moment, the whitened one and the linear density"
    for file in files:
        data = file.read_bytes()
        file.write_bytes(data[:HEADER] + bytes(255 - byte for byte in data[HEADER:]))


def copy(whole: Path, to: Path) -> Path:
    return Path(shutil.copytree(whole, to))


def vectors(method: str, **more: Any) -> Call:
    def call(eng: Engine, folder: Path) -> Any:
        scores, ids = eng.search_vectors(QUERY, 4, method, **more)
        return eng.names(ids), np.round(scores, 3).tolist()

    return call


def search(**asked: Any) -> Call:
    return lambda eng, folder: [(hit.name, round(hit.score, 3)) for hit in eng.search(k=4, **asked)]


def similar(distance: str) -> Call:
    return lambda eng, folder: [(hit.name, round(hit.score, 4)) for hit in eng.similar("m03", 4, distance=distance)]


def evaluated(eng: Engine, folder: Path) -> Any:
    report = eng.evaluate(folder / "queries.jsonl", ["first_moment", "gaussian_density"], resamples=10)
    return [(row.method, round(row.measures["top_5"].value, 4)) for row in report.rows]


class Enough(Exception):
    """Training needs no more."""


def learned(eng: Engine, folder: Path) -> Any:
    """What it reads of the index it reads before it encodes its queries: the training itself is not waited for."""

    def stop(*_: object) -> None:
        raise Enough

    with pytest.raises(Enough):
        eng.learn(folder / "queries.jsonl", on_progress=stop)
    return True


def ingested(eng: Engine, folder: Path) -> Any:
    eng.ingest(unit(np.random.default_rng(3).normal(size=(30, DIMENSION))), name="new")
    return similar("frechet")(eng, folder), len(eng.search_vectors(QUERY, 99)[1][0])


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def removed(eng: Engine, folder: Path) -> Any:
    eng.search_vectors(QUERY)
    eng.remove("m03")
    return search(model="m01")(eng, folder)


def repaired(eng: Engine, folder: Path) -> Any:
    eng.doctor(repair=True)
    return [finding.what for finding in eng.doctor() if finding.severity == "damage"]


def written_and_closed(eng: Engine, folder: Path) -> Any:
    """Closing publishes what has been written since, and reads the whole index for it."""
    with opened(folder) as other:
        other.search_vectors(QUERY)
        other.remove("m05")
        other.search(model="m01", k=1)
    return search(model="m01")(eng, folder)


CALLS: dict[str, Call] = {
    "search": search(model="m03"),
    "search, all of them": search(model="m03", recall=1.0),
    "search, filtered": search(model="m03", where={"name": "m0*"}),
    **{
        f"search_vectors, {method}": vectors(method)
        for method in (
            "first_moment", "whitened_first_moment", "linear_density", "gaussian_density", "blend",
            "first_second_moment", "monte_carlo", "best_k",
        )
    },
    "search_vectors, all of them": vectors("first_moment", recall=1.0),
    "search_vectors, another shortlist": vectors("gaussian_density", shortlist_space="linear_density"),
    "similar, frechet": similar("frechet"),
    "similar, cosine": similar("cosine"),
    "complete_neighbours": lambda eng, folder: (eng.complete_neighbours(), similar("frechet")(eng, folder)),
    "map": lambda eng, folder: np.round(eng.map().points, 3).tolist(),
    "build_map": lambda eng, folder: np.round(eng.build_map("pca").points, 3).tolist(),
    "evaluate": evaluated,
    "learn": learned,
    "ingest": ingested,
    "remove": removed,
    "build_index": lambda eng, folder: [one["snapshot"] for one in eng.build_index()],
    "index_status": lambda eng, folder: [one["snapshot_models"] for one in eng.index_status()],
    "doctor": repaired,
    "close": written_and_closed,
}  # fmt: skip
READ_CODES = ("search, all of them", "search_vectors, all of them", "evaluate", "doctor", "close")
"""Calls that read the long codes, too."""


@pytest.fixture(scope="module")
def right(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What a call answers where nothing is damaged."""
    known: dict[str, Any] = {}

    def answer(name: str) -> Any:
        if name not in known:
            folder = copy(whole, tmp_path_factory.mktemp("right") / "zoo")
            with opened(folder) as eng:
                known[name] = CALLS[name](eng, folder)
        return known[name]

    return answer


@pytest.mark.parametrize(
    ("name", "files"), [*((name, "rows") for name in CALLS), *((name, "codes") for name in READ_CODES)]
)
def test_every_call_heals(whole: Path, tmp_path: Path, right: Callable[[str], Any], name: str, files: str) -> None:
    folder = copy(whole, tmp_path / "zoo")
    damage(folder, FILES[files])
    with opened(folder) as eng:
        assert CALLS[name](eng, folder) == right(name)


def test_pending_lists_heal_and_say_so(whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy(whole, tmp_path / "zoo")
    damage(folder, FILES["rows"])
    with caplog.at_level(logging.WARNING), opened(folder) as eng:
        assert len(eng.similar("m03", k=MODELS)) == MODELS - 1
    assert caplog.text.count("rebuilding") == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING), opened(folder) as eng:  # it was published: nobody pays for it again
        eng.search_vectors(QUERY)
    assert "rebuilding" not in caplog.text


def test_threads_that_find_it_at_once_build_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, built, real = copy(whole, tmp_path / "zoo"), [], IndexViews._built

    def counted(self: IndexViews, *about: Any) -> Any:
        built.append(about)
        return real(self, *about)

    monkeypatch.setattr(IndexViews, "_built", counted)
    damage(folder, FILES["rows"])
    started = threading.Barrier(6)

    def ask(eng: Engine, _: int) -> Any:
        started.wait()
        return eng.search_vectors(QUERY[0], 3)[1].tolist()

    with opened(folder) as eng, ThreadPoolExecutor(6) as pool:
        eng.index_status()
        eng.services.views.current(eng.services.session.encoder())
        answers = list(pool.map(lambda n: ask(eng, n), range(6)))
    assert len(built) == 1
    assert all(answer == answers[0] for answer in answers)


def test_a_view_stays_of_its_moment(whole: Path, tmp_path: Path) -> None:
    """Damage found by a search that began before another model came: the answer has no model that the view lacks."""
    folder = copy(whole, tmp_path / "zoo")
    damage(folder, FILES["rows"])
    with opened(folder) as eng:
        view = eng.services.views.current(eng.services.session.encoder())
        with opened(folder) as other:
            other.ingest(unit(np.random.default_rng(3).normal(size=(30, DIMENSION))), name="new")
            other.remove("m02")
        _, ids = view.index.search(unit(QUERY[:1]), 99)
        assert sorted(filter(None, eng.names(ids)[0])) == [name for name in NAMES if name != "m02"]
        assert "new" in {hit.name for hit in eng.search(model="m03", k=99)}


def test_a_view_of_a_space_that_is_gone(whole: Path, tmp_path: Path) -> None:
    """Its transform was removed while it was searched: it is answered, and nothing is published for it."""
    folder = copy(whole, tmp_path / "zoo")
    damage(folder, FILES["rows"])
    with opened(folder) as eng:
        view = eng.services.search.plan(PlanRequest(None, ("image",), "whitened_first_moment", None)).view
        eng.services.views.forget(view.encoder, view.space.key)
        _, ids = view.index.search(view.space.queries_to_vectors(unit(QUERY[:1])), 3)
        assert eng.names(ids)[0] == CALLS["search_vectors, whitened_first_moment"](eng, folder)[0][0][:3]
        eng.services.views.forget(view.encoder, view.space.key)
        assert len(view.index.vectors(ids[0])) == 3
        assert not eng.services.views.folder(view.identity, view.space.key).exists()


def test_what_cannot_be_published_still_answers(
    whole: Path, tmp_path: Path, right: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StorageError("a folder that only can be read")

    folder = copy(whole, tmp_path / "zoo")
    damage(folder, FILES["rows"])
    monkeypatch.setattr(snapshots, "publish", refuse)
    with opened(folder) as eng:
        assert CALLS["search"](eng, folder) == right("search")


def test_folding_behind_the_searches_heals(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.search.views.LARGE", 1)
    monkeypatch.setitem(LiveIndex.over.__func__.__kwdefaults__, "least", 1)
    folder = copy(whole, tmp_path / "zoo")
    with opened(folder) as eng:
        eng.services.views.current(eng.services.session.encoder())
        damage(folder, FILES["codes"])  # mapped already, and not read yet
        for seed in range(3):
            rows = unit(np.random.default_rng(seed).normal(size=(30, DIMENSION)))
            eng.ingest(rows, name=f"new {seed}")
            eng.search_vectors(QUERY)
        eng.services.views.wait()
        assert len(eng.services.views.current(eng.services.session.encoder()).index) == MODELS + 3
        assert len(eng.search_vectors(QUERY[0], MODELS + 3, recall=1.0)[1]) == MODELS + 3
