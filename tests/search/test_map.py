"""The map of a collection, what it holds at a glance, and distances between models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import InvalidFilter, InvalidInput, InvalidQuery, ModelNotFound
from engine.search.map import MAP, load_map

GROUPS, EACH, D = 4, 12, 16


@pytest.fixture
def grouped(url: str, tmp_path: Path) -> Iterator[Engine]:
    """Four tight groups of models."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(D, GROUPS)))[0].T
    means = np.repeat(centres, EACH, 0) + 0.05 * rng.normal(size=(GROUPS * EACH, D))
    names = [f"Group{g} number {i}" for g in range(GROUPS) for i in range(EACH)]
    tags = [[f"g{g}", "all"] for g in range(GROUPS) for _ in range(EACH)]
    covariances = np.tile(np.eye(D, dtype=np.float32) / 50, (len(names), 1, 1))
    settings = Settings(index_folder=str(tmp_path / "i"))
    with Engine.open(url, create=True, encoder="external:x", settings=settings) as engine:
        engine.ingest_statistics(names, means, covariances, encoder="external:x", samples=40, tags=tags)
        yield engine


def file_of(engine: Engine) -> Path:
    (path,) = Path(engine.index_folder).glob(f"*..{MAP}")
    return path


def is_grouped(points: np.ndarray) -> bool:
    """Whether every model's nearest on the map is of its own group."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return bool((apart.argmin(1) // EACH == np.arange(len(points)) // EACH).all())


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_neighbours_stay_neighbours(grouped: Engine, method: str) -> None:
    made = grouped.build_map(method)
    assert made.method == method
    assert made.ids.tolist() == sorted(grouped.labels())
    assert np.abs(made.points).max() == pytest.approx(1)
    assert np.isfinite(made.points).all()
    if method == "umap":
        assert is_grouped(made.points)
    again = grouped.map()
    assert np.array_equal(again.points, made.points)
    assert np.array_equal(grouped.build_map(method).points, made.points)  # the same every time


def test_models_come_and_go(grouped: Engine) -> None:
    made = grouped.build_map("pca")
    grouped.remove("Group0 number 3")
    like = grouped.get("Group2 number 0").id
    vectors = grouped.services.views.current(grouped.services.session.encoder()).index.vectors(np.array([like]))
    grouped.ingest_statistics(["new"], vectors, encoder="external:x", samples=3)
    now = grouped.map()
    assert now.placed == 1
    assert set(now.ids.tolist()) == set(grouped.labels())
    group = made.points[2 * EACH : 3 * EACH]
    place = now.points[now.ids.tolist().index(grouped.get("new").id)]
    assert (group.min(0) <= place).all()
    assert (place <= group.max(0)).all()


def test_without_a_map_there_is_one_and_damage_is_mended(grouped: Engine) -> None:
    assert grouped.map().method == "pca"
    grouped.build_map("pca")
    path = file_of(grouped)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    assert load_map(path) is None
    assert grouped.map().method == "pca"
    assert any("the map" in one.what and one.severity == "damage" for one in grouped.doctor())
    assert any("the map" in one.what and one.repaired for one in grouped.doctor(repair=True))
    assert load_map(path) is not None
    for nonsense in (b"", b"x", bytes(100), b"\xff" * 2000):
        path.write_bytes(nonsense)
        assert load_map(path) is None


def test_small_collections(url: str, tmp_path: Path) -> None:
    settings = Settings(index_folder=str(tmp_path / "i"))
    with Engine.open(url, create=True, encoder="external:x", settings=settings) as engine:
        for n in range(1, 5):
            engine.ingest_statistics([f"m{n}"], np.eye(4)[n - 1 : n], encoder="external:x", samples=3)
            for method in ("auto", "pca", "umap"):
                if method == "umap" and n < 4:
                    with pytest.raises(InvalidInput, match="needs 4 models"):
                        engine.build_map(method)
                    continue
                made = engine.build_map(method)
                assert made.points.shape == (n, 2)
                assert np.isfinite(made.points).all()
        with pytest.raises(InvalidInput, match="tsne"):
            engine.build_map("tsne")


def test_models_that_are_alike_are_no_trouble(url: str, tmp_path: Path) -> None:
    """More equals than neighbours that are looked at, and distances of no more than a rounding."""
    rng, each = np.random.default_rng(0), 20
    means = np.repeat(rng.normal(size=(4, D)), each, 0)
    means[2 * each :] += 1e-3 * rng.normal(size=(2 * each, D))
    settings = Settings(index_folder=str(tmp_path / "i"))
    with Engine.open(url, create=True, encoder="external:x", settings=settings) as engine:
        engine.ingest_statistics([f"m{i:02}" for i in range(len(means))], means, encoder="external:x", samples=3)
        points = engine.build_map("umap").points
    assert np.isfinite(points).all()
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(1) // each == np.arange(len(means)) // each).all()


def test_facets_and_labels(grouped: Engine) -> None:
    grouped.update("Group1 number 0", kind="gan", author="Ada", license="MIT", tags=["one", "all"])
    facets = grouped.facets(3)
    assert facets["tag"] == [("all", 48), ("g0", 12), ("g2", 12)]
    assert ("gan", 1) in facets["kind"]
    assert facets["author"] == [("Ada", 1)]
    assert facets["license"] == [("MIT", 1)]
    label = grouped.labels()[grouped.get("Group1 number 0").id]
    assert label == ("Group1 number 0", "gan", ["all", "one"])


def test_distances(grouped: Engine) -> None:
    names = ["Group0 number 0", "Group0 number 1", "Group3 number 0"]
    found = grouped.distances(names)
    for values in found.values():
        assert np.allclose(values, values.T)
    assert np.allclose(np.diag(found["frechet"]), 0)
    assert np.allclose(np.diag(found["cosine"]), 1)
    assert found["frechet"][0, 1] < found["frechet"][0, 2]
    assert found["cosine"][0, 1] > found["cosine"][0, 2]
    near = {hit.name: hit.score for hit in grouped.similar(names[0], 60)}
    assert found["frechet"][0, 2] == pytest.approx(near[names[2]], rel=1e-5)
    grouped.ingest_statistics(["bare"], np.ones((1, D)), encoder="external:x", samples=3)
    bare = grouped.distances(["bare", names[0]])
    assert np.isnan(bare["frechet"][0]).all()
    assert np.isfinite(bare["cosine"]).all()
    with pytest.raises(ModelNotFound):
        grouped.distances(["nobody"])
    for wrong in ([], ["x"] * 101):
        with pytest.raises(InvalidQuery):
            grouped.distances(wrong)


def test_filters_by_a_part(grouped: Engine) -> None:
    def names(where: object) -> set[str]:
        return {model.name for model in grouped.models(where)}  # type: ignore[arg-type]

    assert len(names({"name~": "group1"})) == EACH
    assert names([("name~", "GROUP1"), ("name~", "number 11")]) == {"Group1 number 11"}
    assert len(names({"name~!": ["Group1", "group2"]})) == 2 * EACH
    assert names({"name~": "%"}) == names({"name~": "_"}) == set()
    assert len(names({"author~!": "ada"})) == GROUPS * EACH  # a model without an author has not that one
    for wrong in ({"tagg~": "a"}, {"samples~": "a"}, {"name~": 3}, {"name~": ["x"] * 201}):
        with pytest.raises(InvalidFilter):
            grouped.models(wrong)
