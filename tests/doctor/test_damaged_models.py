"""One damaged model: it is named, left out of what reads the damage, and stops nothing; the others answer as before."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import CorruptData, EngineError
from engine.records import Ingested, Thumbnail
from engine.statistics import Moments

pytestmark = pytest.mark.backends("sqlite")  # each case takes seconds, and stored bytes are the same

D = 8
NAMES = [f"m{number:02}" for number in range(12)]
VICTIM = "m05"
METHODS = (
    "first_moment", "whitened_first_moment", "linear_density", "first_second_moment", "gaussian_density", "blend",
    "monte_carlo", "best_1", "best_10",
)  # fmt: skip
Damage = Callable[[Engine, int], None]


def features_of(number: int, cloud: Any) -> np.ndarray:
    rows: np.ndarray = cloud(number, rows=30, dimension=D)
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cloud: Any) -> Path:
    """A folder with a collection of twelve models with everything that a model can have, and its index."""
    import io

    folder = tmp_path_factory.mktemp("whole")
    picture = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 10)).save(picture, "PNG")
    settings = Settings(busy_timeout=0.2, index_folder=str(folder / "index"))
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="external:test", settings=settings) as eng:
        for number, name in enumerate(NAMES):
            eng.ingest(features_of(number, cloud), name=name, tags=["animal"])
        encoder_id, _ = eng.services.session.encoder("external:test")
        with_preview = Ingested(
            VICTIM, {"tags": ["animal"]}, Moments.of(features_of(5, cloud)).to_statistics(1e-4),
            {"type": "test", "path": "/pictures/m 05"}, "d", sample_features=features_of(5, cloud).astype(np.float16),
            thumbnails=(Thumbnail(picture.getvalue(), "image/png"),),
        )  # fmt: skip
        eng.services.catalog.put(with_preview, encoder_id, replace=True)
        eng.build_index()
        eng.search_vectors(features_of(3, cloud)[0], method="linear_density")
        eng.build_index()
        assert eng.doctor() == []
    return folder


@pytest.fixture
def whole(made: Path, url: str, tmp_path: Path) -> str:
    """That collection, to be damaged; the address."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return url


def write(eng: Engine, table: str, model_id: int, **values: Any) -> None:
    """Put values into a model's rows, behind the engine's back."""
    key = "id" if table == "models" else "model_id"
    said = ", ".join(f"{column} = :{column}" for column in values)
    with eng.services.database.write() as session:
        session.execute(text(f"UPDATE {table} SET {said} WHERE {key} = :key"), {"key": model_id, **values})


def read(eng: Engine, table: str, column: str, model_id: int) -> bytes:
    with eng.services.database.read() as session:
        found = session.execute(text(f"SELECT {column} FROM {table} WHERE model_id = :i"), {"i": model_id})
        return bytes(found.scalar_one())


def flip(table: str, column: str, place: float) -> Damage:
    def damage(eng: Engine, model_id: int) -> None:
        data = bytearray(read(eng, table, column, model_id))
        data[min(int(place * len(data)), len(data) - 1)] ^= 0x10
        write(eng, table, model_id, **{column: bytes(data)})

    return damage


def moments(mean: Callable[[np.ndarray], np.ndarray], covariance: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Other moments, with the right checksums."""

    def damage(eng: Engine, model_id: int) -> None:
        first = mean(np.frombuffer(read(eng, "statistics", "mean", model_id), "<f4").copy()).tobytes()
        second = covariance(np.frombuffer(read(eng, "statistics", "covariance", model_id), "<f4").copy()).tobytes()
        sums = {
            "mean_checksum": hashlib.sha256(first).hexdigest(),
            "checksum": hashlib.sha256(first + second).hexdigest(),
        }
        write(eng, "statistics", model_id, mean=first, covariance=second, **sums)

    return damage


def other_features(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(eng: Engine, model_id: int) -> None:
        data = change(np.frombuffer(read(eng, "sample_features", "data", model_id), "<f2").copy()).tobytes()
        write(eng, "sample_features", model_id, data=data, checksum=hashlib.sha256(data).hexdigest())

    return damage


def same(array: np.ndarray) -> np.ndarray:
    return array


def with_nan(array: np.ndarray) -> np.ndarray:
    array[3] = np.nan
    return array


MEAN = {"first_moment", "whitened_first_moment"}
SECOND = {"linear_density", "first_second_moment", "gaussian_density"}
SAMPLES = {"monte_carlo", "best_1", "best_10"}
ALL = {*METHODS}
DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    **{f"mean {place}": (flip("statistics", "mean", place), ALL) for place in (0, 0.5, 1)},
    **{f"covariance {place}": (flip("statistics", "covariance", place), SECOND) for place in (0, 0.3, 1)},
    **{f"features {place}": (flip("sample_features", "data", place), SAMPLES) for place in (0, 0.7, 1)},
    "mean has a NaN": (moments(with_nan, same), ALL),
    "mean is zero": (moments(np.zeros_like, same), ALL),
    "mean is beyond any feature's": (moments(lambda mean: np.full_like(mean, 3e38), same), ALL),
    "covariance has a negative variance": (moments(same, lambda packed: np.append(np.float32(-5), packed[1:])), SECOND),
    "covariance has a NaN": (moments(same, with_nan), SECOND),
    "features have a NaN": (other_features(with_nan), SAMPLES),
    "mean of another dimension": (moments(lambda m: m[:4], same), ALL),
    "covariance of another dimension": (moments(same, lambda c: c[:10]), SECOND),
    "features of another dimension": (other_features(lambda f: f[:-3]), SAMPLES),
}


def ranked(eng: Engine, method: str, query: np.ndarray) -> list[str | None]:
    return [name for name in eng.names(eng.search_vectors(query, len(NAMES), method)[1]) if name]


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_model_is_named_left_out_and_stops_nothing(
    whole: str, settings: Settings, cloud: Any, tmp_path: Path, what: str
) -> None:
    damage, concerned = DAMAGES[what]
    query = features_of(3, cloud)[0]
    with Engine.open(whole, settings=settings) as eng:
        before = {method: ranked(eng, method, query) for method in METHODS}
        assert all(VICTIM in names for names in before.values())
        damage(eng, eng.get(VICTIM).id)
    fresh = replace(settings, index_folder=str(tmp_path / "fresh"))  # nothing that was derived before it was damaged
    with Engine.open(whole, settings=fresh) as eng:
        (finding,) = [finding for finding in eng.doctor() if finding.severity == "damage"]
        assert finding.what.startswith(f"{VICTIM} (external:test): ")
        assert f"engine ingest '/pictures/m 05' --name {VICTIM} --encoder external:test --database" in finding.repair
        for method in METHODS:
            names = ranked(eng, method, query)
            assert (VICTIM in names) == (method not in concerned), method
            assert [name for name in names if name != VICTIM] == [n for n in before[method] if n != VICTIM], method
        hits = eng.search(model="m03", k=12)
        assert hits.left_out == ("first_moment" in concerned)
        assert [hit.name for hit in eng.similar("m03", k=12)]
        eng.ingest(cloud(77, rows=30, dimension=D), name="new")
        assert "new" in ranked(eng, "gaussian_density", cloud(77, rows=30, dimension=D)[0])
        eng.build_index()
        found = eng.doctor(repair=True)
        assert [one.what for one in found if one.severity == "damage"] == [finding.what]
        assert not any(one.repaired for one in found if one.severity == "damage")
        for method in METHODS:
            assert (VICTIM in ranked(eng, method, query)) == (method not in concerned), method
        eng.ingest(features_of(5, cloud), name=VICTIM, replace=True)
        eng.build_index()
        assert eng.doctor() == []
        assert all(VICTIM in ranked(eng, method, query) for method in METHODS)


def test_left_out_is_counted(whole: str, settings: Settings, cloud: Any, tmp_path: Path) -> None:
    from engine.records import QueryPart
    from engine.search import rank
    from engine.search.plan import PlanRequest

    fresh = replace(settings, index_folder=str(tmp_path / "fresh"))
    with Engine.open(whole, settings=fresh) as eng:
        flip("statistics", "covariance", 0.5)(eng, eng.get("m02").id)
        flip("sample_features", "data", 0.5)(eng, eng.get("m04").id)
        flip("statistics", "mean", 0.5)(eng, eng.get("m06").id)
        part = QueryPart("image", features_of(3, cloud)[0])
        counted = {}
        for method in METHODS:
            plan = eng.services.search.plan(PlanRequest(None, ("image",), method, None, "first_moment"))
            counted[method] = rank(plan, eng.services.statistics, [part], 12, shortlist=100).left_out
    assert counted == {
        "first_moment": 1, "whitened_first_moment": 1, "linear_density": 2, "first_second_moment": 2,
        "gaussian_density": 2, "blend": 1, "monte_carlo": 2, "best_1": 2, "best_10": 2,
    }  # fmt: skip


def test_a_damaged_preview_is_named(whole: str, settings: Settings) -> None:
    with Engine.open(whole, settings=settings) as eng:
        data = read(eng, "thumbnails", "data", eng.get(VICTIM).id)
        for damaged in (data[: len(data) // 2], b"\0" + data[1:], data[:16] + b"\xff" + data[17:], b""):
            write(eng, "thumbnails", eng.get(VICTIM).id, data=damaged)
            (finding,) = eng.doctor()
            assert finding.what.startswith(f"{VICTIM}: preview 0 cannot be used")


@pytest.mark.parametrize(
    ("table", "column"),
    [("models", "links"), ("models", "metadata"), ("models", "source"), ("models", "generator"),
     ("statistics", "quarantine")],
)  # fmt: skip
@pytest.mark.parametrize("value", ["{", '"text"', "5", "", "[[1, 2"])
def test_damaged_json_stops_nothing(
    whole: str, settings: Settings, cloud: Any, table: str, column: str, value: str
) -> None:
    with Engine.open(whole, settings=settings) as eng:
        if not eng.services.database.is_sqlite and value in ("{", "", "[[1, 2"):
            with pytest.raises(EngineError):  # Postgres refuses what is no JSON
                write(eng, table, eng.get(VICTIM).id, **{column: value})
            return
        write(eng, table, eng.get(VICTIM).id, **{column: value})
    with Engine.open(whole, settings=settings) as eng:
        (finding,) = eng.doctor()
        assert finding.what == f"{VICTIM}: {column} of {table} cannot be read"
        assert eng.get(VICTIM).name == VICTIM
        assert len(eng.models()) == len(NAMES)
        assert eng.services.catalog.quarantine(eng.get(VICTIM).id) == []
        for method in METHODS:
            assert VICTIM in ranked(eng, method, features_of(3, cloud)[0])
        eng.build_index()
        if column == "source":  # nobody knows any more what it was, so ingesting mends it
            assert eng.ingest(features_of(4, cloud), name=VICTIM).tags == ("animal",)
            assert not [found for found in eng.doctor() if found.what == finding.what]


def test_a_damaged_whitening_is_fitted_again(whole: str, settings: Settings, cloud: Any) -> None:
    with Engine.open(whole, settings=settings) as eng:
        (name,) = [one.name for one in eng.transforms()]
        with eng.services.database.write() as session:
            data = bytearray(bytes(session.execute(text("SELECT data FROM transforms")).scalar_one()))
            data[len(data) // 2] ^= 4
            session.execute(text("UPDATE transforms SET data = :d"), {"d": bytes(data)})
    with Engine.open(whole, settings=settings) as eng:
        (finding,) = [finding for finding in eng.doctor() if finding.severity == "damage"]
        assert name in finding.what
        assert "engine doctor --repair" in finding.repair
        assert all(one.repaired for one in eng.doctor(repair=True))
        assert eng.doctor() == []
        assert VICTIM in ranked(eng, "gaussian_density", features_of(3, cloud)[0])


def test_a_damaged_checkpoint_is_dropped(whole: str, settings: Settings) -> None:
    with Engine.open(whole, settings=settings) as eng:
        encoder_id, _ = eng.services.session.encoder("external:test")
        eng.services.catalog.save_checkpoint("half", encoder_id, "d", 5, b"garbage")
        (finding,) = eng.doctor()
        assert (finding.severity, finding.what.startswith("half: ")) == ("note", True)
        assert [one.repaired for one in eng.doctor(repair=True)] == [True]
        assert eng.doctor() == []


def test_contradicting_lists_are_made_again(whole: str, settings: Settings) -> None:
    with Engine.open(whole, settings=settings) as eng:
        wanted = [(hit.name, pytest.approx(hit.score)) for hit in eng.similar("m03", 11)]
        first, second = eng.get("m03").id, eng.get("m04").id
        with eng.services.database.write() as session:
            said = {"a": first, "b": second}
            session.execute(
                text("UPDATE neighbours SET value = value / 2 WHERE model_id = :a AND neighbour_id = :b"), said
            )
        found = [finding for finding in eng.doctor() if finding.severity == "damage"]
        assert len(found) == 1
        assert "m03" in found[0].what
        assert "m04" in found[0].what
        assert all(one.repaired for one in eng.doctor(repair=True))
        assert [(hit.name, hit.score) for hit in eng.similar("m03", 11)] == wanted


def test_statistics_without_their_change_are_entered_again(whole: str, settings: Settings, cloud: Any) -> None:
    with Engine.open(whole, settings=settings) as eng:
        with eng.services.database.write() as session:
            session.execute(text("DELETE FROM changes WHERE model_id = :i"), {"i": eng.get("m03").id})
        assert "1 models have statistics of a change" in eng.doctor()[0].what
        assert all(one.repaired for one in eng.doctor(repair=True) if one.severity == "damage")
        assert eng.doctor() == []
        assert ranked(eng, "gaussian_density", features_of(3, cloud)[0])[0] == "m03"


def test_similar_names_what_is_damaged(whole: str, settings: Settings, tmp_path: Path) -> None:
    with Engine.open(whole, settings=replace(settings, index_folder=str(tmp_path / "fresh"))) as eng:
        flip("statistics", "covariance", 0.5)(eng, eng.get(VICTIM).id)
        with eng.services.database.write() as session:
            session.execute(text("DELETE FROM neighbours"))
            session.execute(text("UPDATE statistics SET neighbours_change = NULL"))
        with pytest.raises(CorruptData, match=VICTIM):
            eng.similar(VICTIM)


def test_a_damaged_learned_transform_stops_only_what_uses_it(whole: str, settings: Settings, cloud: Any) -> None:
    with Engine.open(whole, settings=settings) as eng:
        encoder_id, _ = eng.services.session.encoder("external:test")
        arrays = {"matrix": np.eye(D, dtype=np.float32)}
        name = eng.services.transforms.transforms.add(
            encoder_id, "first_moment", "sketch", "full", arrays, {}, activate=True
        ).name
        with eng.services.database.write() as session:
            session.execute(text("UPDATE transforms SET data = :d WHERE name = :n"), {"d": b"x" * 99, "n": name})
    with Engine.open(whole, settings=settings) as eng:
        eng.build_index()
        assert VICTIM in ranked(eng, "first_moment", features_of(3, cloud)[0])
        with pytest.raises(CorruptData, match=name):
            eng.search_vectors(features_of(3, cloud)[0], 3, "first_moment", modality="sketch", transform="auto")
        (finding,) = [finding for finding in eng.doctor(repair=True) if finding.severity == "damage"]
        assert (name in finding.what, finding.repaired) == (True, False)
        assert f"engine transforms remove {name}" in finding.repair
        eng.remove_transform(name)
        assert eng.doctor() == []
