"""Small random collections, made without an encoder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config import Settings
from engine.index.torch_device import torch_sees_gpu
from engine.records import EncoderIdentity, Ingested, Model, Statistics
from engine.statistics import Moments
from engine.storage import Catalog, Database, migrate
from tests.postgres import copy_collection, shared_server

hypothesis.settings.register_profile("engine", deadline=None, max_examples=30)  # a busy machine is no failure
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=100)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "engine"))
# What tests trust is recorded for them alone; processes that they start inherit this.
STATE = tempfile.TemporaryDirectory(prefix="engine-tests-")
os.environ["XDG_STATE_HOME"] = STATE.name

DIMENSION = 8
MakeStatistics = Callable[..., tuple[Statistics, NDArray[np.float32]]]
Put = Callable[..., Model]


def unit_rows(rng: np.random.Generator, rows: int, dimension: int, spread: float = 0.4) -> NDArray[np.float32]:
    """Features ``(rows, dimension)`` of unit norm around a direction of their own."""
    wide = rng.normal(size=dimension) + spread * rng.normal(size=(rows, dimension))
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers every time."""
    return np.random.default_rng(20240501)


@pytest.fixture(scope="session")
def cloud() -> Callable[..., NDArray[np.float32]]:
    """Unit-norm features by a seed: ``cloud(7, rows=12, dimension=8)``."""

    def make(seed: int, rows: int = 12, dimension: int = DIMENSION, spread: float = 0.4) -> NDArray[np.float32]:
        return unit_rows(np.random.default_rng(seed), rows, dimension, spread)

    return make


@pytest.fixture
def few_tuning_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantised indexes are tuned on few queries: for tests of what does not depend on the recall."""
    monkeypatch.setattr("engine.index.quantized.calibrate.QUERIES", 60)
    monkeypatch.setattr("engine.index.quantized.calibrate.JUDGES", 20)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that give up quickly on a lock."""
    return Settings(busy_timeout=0.2, index_folder=str(tmp_path / "index"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever asks for a collection's address runs on both databases, unless ``backends`` names one."""
    if "backend" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        metafunc.parametrize("backend", marker.args if marker else ("sqlite", "postgres"), scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a server or a browser are marked by what they ask for."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("backend") == "postgres":
            item.add_marker("postgres")
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked ``gpu`` is skipped where torch sees none; it is not imported to find that out."""
    if item.get_closest_marker("gpu") and not torch_sees_gpu():
        pytest.skip("there is no GPU")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The database that a test runs on; see ``pytest_generate_tests``."""
    return str(request.param)


@pytest.fixture
def url(backend: str, tmp_path: Path) -> Iterator[str]:
    """Where a collection could be: a file that is not there, or an empty database of a real Postgres."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'zoo.db'}"
        return
    address = shared_server().create()
    yield address
    shared_server().drop(address)


@pytest.fixture(scope="session")
def empty_collection(backend: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a collection without models, to be copied."""
    if backend == "sqlite":
        address = f"sqlite:///{tmp_path_factory.mktemp('empty') / 'zoo.db'}"
    else:
        address = shared_server().create()
    database = Database(address, Settings(), create=True)
    migrate.upgrade(database)
    Catalog(database).initialise("external:test")
    database.close()
    return address


@pytest.fixture(scope="session")
def new_collection(
    backend: str, empty_collection: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:  # fmt: skip
    """Addresses of collections without models, for fixtures that many tests share."""

    def make() -> str:
        if backend == "postgres":
            return shared_server().create(empty_collection)
        address = f"sqlite:///{tmp_path_factory.mktemp('new') / 'zoo.db'}"
        copy_collection(empty_collection, address)
        return address

    return make


@pytest.fixture
def database(url: str, settings: Settings, empty_collection: str) -> Iterator[Database]:
    """A fresh collection."""
    copy_collection(empty_collection, url)
    database = Database(url, settings)
    yield database
    database.close()


@pytest.fixture
def catalog(database: Database) -> Catalog:
    """Its catalogue."""
    return Catalog(database)


@pytest.fixture
def identity() -> EncoderIdentity:
    """An encoder of eight dimensions."""
    return EncoderIdentity("external:test", "f" * 64, DIMENSION, 10.0, frozenset())


@pytest.fixture
def encoder_id(catalog: Catalog, identity: EncoderIdentity) -> int:
    """That encoder, registered."""
    return catalog.register_encoder(identity)


@pytest.fixture
def make_statistics(rng: np.random.Generator) -> MakeStatistics:
    """Statistics of random features, and the features: ``make_statistics(rows=40, dimension=8)``."""

    def make(rows: int = 40, dimension: int = DIMENSION, epsilon: float = 1e-4) -> Any:
        features = unit_rows(rng, rows, dimension)
        return Moments.of(features).to_statistics(epsilon), features

    return make


@pytest.fixture
def put(catalog: Catalog, encoder_id: int, make_statistics: MakeStatistics) -> Put:
    """Store a model of random features: ``put("fox", tags=["animal"])``.

    ``covariance=False`` and ``kept=False`` leave the covariance or the sample features out.
    """

    def store(
        name: str,
        *,
        statistics: Statistics | None = None,
        features: NDArray[np.float32] | None = None,
        covariance: bool = True,
        kept: bool = True,
        rows: int = 40,
        digest: str = "d",
        encoder: int | None = None,
        extra: dict[str, Any] | None = None,
        **details: Any,
    ) -> Model:
        if statistics is None:
            if features is None:
                statistics, features = make_statistics(rows)
            else:
                statistics = Moments.of(features).to_statistics(1e-4)
        if not covariance:
            statistics = Statistics(statistics.mean, None, statistics.epsilon, statistics.samples)
        sample_features = features.astype(np.float16) if kept and features is not None else None
        ingested = Ingested(
            name, details, statistics, {"type": "test"}, digest, sample_features=sample_features, **(extra or {})
        )
        return catalog.put(ingested, encoder or encoder_id)

    return store
