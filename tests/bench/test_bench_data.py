"""The data sets are what they say, and the same however they are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.bench import data


def rows_of(name: str, n: int, dimension: int = 64) -> np.ndarray:
    """All blocks together."""
    return np.concatenate(list(data.DATA[name](n, np.random.default_rng(0), dimension)))


def whole_clustered(n: int, dimension: int, random: np.random.Generator) -> np.ndarray:
    """The set drawn all at once, as the script did on which earlier figures were made."""
    scale = np.arange(1, dimension + 1, dtype=np.float32) ** -0.5
    basis = np.linalg.qr(random.normal(size=(dimension, dimension)))[0].astype(np.float32)
    topics = (random.normal(size=(20, dimension)) * scale).astype(np.float32)
    often = np.arange(1, 21) ** -0.3
    own = topics[random.choice(20, n, p=often / often.sum())]
    own = own + 1.2 * random.standard_normal((n, dimension), np.float32) * scale
    own[:, 0] += 2
    return data.unit(own) @ basis


@pytest.mark.parametrize("name", data.DATA)
def test_rows_have_unit_norm_and_repeat(name: str) -> None:
    rows = rows_of(name, 300)
    assert rows.shape == (300, 64)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows, rows_of(name, 300))


def test_clustered_is_what_it_is_said_to_be() -> None:
    assert np.array_equal(rows_of("clustered", 300), whole_clustered(300, 64, np.random.default_rng(0)))


def test_simulated_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of("simulated", 300)
    monkeypatch.setattr(data, "BLOCK", 70)
    assert np.array_equal(rows_of("simulated", 300), whole)


def test_clustered_is_a_narrow_cone_and_simulated_is_not() -> None:
    clustered, simulated = rows_of("clustered", 2000), rows_of("simulated", 2000)
    assert np.linalg.norm(clustered.mean(axis=0)) > 0.35
    assert np.linalg.norm(simulated.mean(axis=0)) < 0.1

    def held(rows: np.ndarray) -> float:
        values = np.linalg.eigvalsh(rows.T @ rows)[::-1]
        return float(values[:8].sum() / values.sum())

    assert held(clustered) > 0.45 > 0.25 > held(simulated)


@pytest.mark.parametrize("name", data.DATA)
def test_queries_lie_at_that_cosine_from_their_model(name: str) -> None:
    rows = rows_of(name, 300)
    queries, sources = data.near(rows, np.random.default_rng(1), 20)
    assert np.allclose(np.einsum("qd,qd->q", queries, rows[sources]), data.CLOSE, atol=1e-5)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)


def test_truth_is_a_full_scan(tmp_path: Path) -> None:
    data.draw(tmp_path, "clustered", 300, dimension=64, queries=20)
    drawn = data.read(tmp_path)
    assert tuple(drawn.families) == data.FAMILIES
    for asked in drawn.families.values():
        best = np.argsort(-(asked.queries @ drawn.vectors.T), axis=1)[:, : data.ANSWERS]
        assert np.array_equal(asked.truth, best)
        assert np.allclose(np.linalg.norm(asked.queries, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("family", data.SHAPED)
def test_shaped_noise_falls_off(family: str) -> None:
    rows, (exponent, cosine) = rows_of("clustered", 2000), data.SHAPED[family]
    basis = data.eigenbasis(rows)
    queries = data.shaped(rows, basis, exponent, cosine, np.random.default_rng(1), 400)
    assert (np.abs(queries @ rows.T - cosine).min(axis=1) < 1e-5).all(), "a model is at that cosine"
    spread = np.square(queries @ basis.T).mean(axis=0)
    assert spread[:8].sum() > np.square(data.near(rows, np.random.default_rng(1), 400)[0] @ basis.T).mean(0)[:8].sum()


def test_models_left_out_are_of_the_same_topics() -> None:
    """Whatever is drawn beyond the rows leaves the rows as they are."""
    rows = rows_of("clustered", 2000)
    more = list(data.clustered(2000, np.random.default_rng(0), 64, 500))
    assert np.array_equal(np.concatenate(more[:-1]), rows)
    nearest = (more[-1] @ rows.T).max(axis=1)
    own = np.sort(rows[:500] @ rows.T, axis=1)[:, -2]
    assert abs(nearest.mean() - own.mean()) < 0.02
    assert nearest.max() < 1 - 1e-3


def test_what_was_interrupted_is_drawn_again(tmp_path: Path) -> None:
    data.draw(tmp_path, "clustered", 300, dimension=64, queries=20)
    first = np.array(data.read(tmp_path).vectors)
    (tmp_path / "drawn.json").unlink()
    np.save(tmp_path / "vectors.npy", np.zeros((3, 64), np.float32))
    data.draw(tmp_path, "clustered", 300, dimension=64, queries=20)
    drawn = data.read(tmp_path)
    assert np.array_equal(drawn.vectors, first)
    assert drawn.truth.shape == (20, data.ANSWERS)
    data.draw(tmp_path, "simulated", 300, dimension=64, queries=20)
    assert data.read(tmp_path).name == "simulated"
