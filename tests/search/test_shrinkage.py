"""Covariances drawn toward what the collection has in common: the formula, the default, and collections that cannot."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import InvalidInput
from engine.records import Statistics
from engine.scores import Shrinkage, gaussian_density, statistics_to_factor

NAMES = ("ant", "bee", "cat", "dog")


def samples(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=8) + 0.5 * rng.normal(size=(count, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def opened(path: Path, **changes: object) -> Engine:
    settings = Settings(index_folder=str(path / "index"), **changes)
    eng = Engine.open(f"sqlite:///{path / 'zoo.db'}", create=True, encoder="external:test", settings=settings)
    for seed, name in enumerate(NAMES):
        eng.ingest(samples(seed, 20 + 10 * seed), name=name)
    return eng


def test_the_factor_is_of_the_mixed_covariance() -> None:
    rng = np.random.default_rng(0)
    one, other = (np.cov(rng.normal(size=(30, 6)), rowvar=False) for _ in range(2))
    statistics = Statistics(rng.normal(size=6).astype(np.float32), one.astype(np.float32), 1e-3, 30)
    query = rng.normal(size=6).astype(np.float32)
    factor = statistics_to_factor(statistics, Shrinkage(other, 0.4, "v"))
    sigma = 0.6 * statistics.covariance.astype(np.float64) + 0.4 * other + 1e-3 * np.eye(6)
    expected = multivariate_normal(statistics.mean.astype(np.float64), sigma).logpdf(query)
    assert gaussian_density(factor, query) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.8])
def test_search_agrees_with_the_formula_in_float64(tmp_path: Path, weight: float) -> None:
    query = samples(9, 1)[0]
    with opened(tmp_path, shrinkage=weight) as eng:
        scores, ids = eng.search_vectors(query, k=4, method="gaussian_density")
        found = dict(zip(eng.names(ids), scores.tolist(), strict=True))
    rows = [samples(seed, 20 + 10 * seed).astype(np.float64) for seed in range(4)]
    own = [np.cov(x, rowvar=False) for x in rows]
    freedom = [len(x) - 1 for x in rows]
    pooled = sum(f * s for f, s in zip(freedom, own, strict=True)) / sum(freedom)
    pooled = 0.95 * pooled + 0.05 * np.trace(pooled) / 8 * np.eye(8)
    for name, x, s in zip(NAMES, rows, own, strict=True):
        sigma = (1 - weight) * s + weight * pooled + 1e-4 * np.eye(8)
        expected = multivariate_normal(x.mean(axis=0), sigma).logpdf(query.astype(np.float64))
        assert found[name] == pytest.approx(expected, rel=1e-4)


def test_one_model_alone_is_scored_by_its_own(tmp_path: Path) -> None:
    settings = Settings(index_folder=str(tmp_path / "index"))
    with Engine.open(f"sqlite:///{tmp_path / 'a.db'}", create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(samples(0, 30), name="ant")
        scores, _ = eng.search_vectors(samples(9, 1)[0], k=1, method="gaussian_density")
    x = samples(0, 30).astype(np.float64)
    sigma = np.cov(x, rowvar=False) + 1e-4 * np.eye(8)
    expected = multivariate_normal(x.mean(axis=0), sigma).logpdf(samples(9, 1)[0].astype(np.float64))
    assert scores[0] == pytest.approx(expected, rel=1e-4)


def test_a_change_of_the_weight_is_seen_at_once(tmp_path: Path) -> None:
    query = samples(9, 1)[0]
    opened(tmp_path, shrinkage=0.1).close()
    found = []
    for weight in (0.1, 0.9):
        settings = Settings(index_folder=str(tmp_path / "index"), shrinkage=weight)
        with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", settings=settings) as eng:
            found.append(eng.search_vectors(query, k=4, method="gaussian_density")[0])
    assert not np.allclose(*found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_collection_that_cannot_be_written_is_searched(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "zoo.db").chmod(0o444)
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}") as eng:
        assert len(eng.search_vectors(samples(9, 1)[0], k=4, method="gaussian_density")[1]) == 4


def test_a_locked_collection_is_searched_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(tmp_path).close()
    settings = Settings(index_folder=str(tmp_path / "index"), busy_timeout=0.05)
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", settings=settings) as eng:
        other = Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", settings=settings)
        with other.services.database.write() as session:
            session.execute(text("SELECT 1"))  # begins
            scores, _ = eng.search_vectors(samples(9, 1)[0], k=4, method="gaussian_density")
        other.close()
    assert np.isfinite(scores).all()
    assert "own covariance alone" in caplog.text


@pytest.mark.parametrize("bad", [-0.1, 1.0, float("nan"), "much", True])
def test_a_weight_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(InvalidInput, match="shrinkage"):
        Settings(shrinkage=bad)  # type: ignore[arg-type]
