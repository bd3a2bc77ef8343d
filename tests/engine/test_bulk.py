"""Many models' moments at once: the same collection as one by one, whole blocks, and nothing of what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import DuplicateName, EncoderMismatch, InvalidInput, InvalidStatistics, MissingStatistics
from engine.ingest import bulk
from engine.samples import MomentsSource
from engine.scores import unit

D = 6
ENCODER = "external:test"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bulk.db'}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(index_folder=str(tmp_path / "index"))


@pytest.fixture
def eng(url: str, settings: Settings) -> Any:
    with Engine.open(url, create=True, encoder=ENCODER, settings=settings) as opened:
        yield opened


def moments(seed: int, n: int = 25) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = unit((rng.normal(size=(n, 1, D)) + 0.4 * rng.normal(size=(n, 40, D))).reshape(-1, D)).reshape(n, 40, D)
    means = rows.mean(axis=1)
    covariances = np.stack([np.cov(own, rowvar=False) for own in rows])
    return [f"m{i}" for i in range(n)], means.astype(np.float32), covariances.astype(np.float32)


def packed(covariances: np.ndarray) -> np.ndarray:
    rows, columns = np.tril_indices(D)
    return covariances[:, rows, columns]


def stored(eng: Engine) -> dict[str, tuple[bytes, bytes, int]]:
    encoder_id, _ = eng.services.session.encoder(ENCODER)
    names = {model.id: model.name for model in eng.models()}
    good, damaged = eng.services.catalog.statistics(encoder_id, names)
    assert not damaged
    return {
        names[i]: (
            item.statistics.mean.tobytes(),
            b"" if item.statistics.covariance is None else item.statistics.covariance.tobytes(),
            item.statistics.samples,
        )
        for i, item in good.items()
    }


def findings(eng: Engine) -> list[str]:
    return [f.what for f in eng.doctor() if f.severity == "damage" or "disagree" in f.what]


def test_interrupted_ingests_of_its_models_are_forgotten(eng: Engine) -> None:
    names, means, covariances = moments(0)
    eng.ingest_statistics(["first"], means[:1], covariances[:1], encoder=ENCODER, samples=40)
    catalog = eng.services.catalog
    ((mine, identity),) = catalog.encoders().items()
    other = catalog.register_encoder(replace(identity, name="external:other"))
    for name, encoder_id in ((names[3], mine), ("elsewhere", mine), (names[3], other)):
        catalog.save_checkpoint(name, encoder_id, "digest", 5, b"five")
    eng.ingest_statistics(names, means, covariances, encoder=ENCODER, samples=40)
    assert catalog.checkpoint(names[3], mine, "digest") is None
    assert catalog.checkpoint("elsewhere", mine, "digest") == b"five"
    assert catalog.checkpoint(names[3], other, "digest") == b"five"


@pytest.mark.parametrize("form", ["square", "packed", "double"])
def test_it_is_what_one_by_one_makes(eng: Engine, tmp_path: Path, form: str) -> None:
    names, means, covariances = moments(0)
    given = {"square": covariances, "packed": packed(covariances), "double": covariances.astype(np.float64)}[form]
    counts = eng.ingest_statistics(names, means, given, encoder=ENCODER, samples=40, tags=["a", "b"])
    assert (counts.added, counts.replaced, counts.unchanged) == (25, 0, 0)
    apart = Settings(index_folder=str(tmp_path / "single"))
    with Engine.open(f"sqlite:///{tmp_path / 'single.db'}", create=True, encoder=ENCODER, settings=apart) as other:
        for name, mean, covariance in zip(names, means, covariances, strict=True):
            other.ingest(MomentsSource(mean, covariance, 40), name=name, tags=["a", "b"])
        assert stored(eng) == stored(other)
        query = unit(np.random.default_rng(1).normal(size=(1, D)).astype(np.float32))[0]
        for method in ("first_moment", "gaussian_density", "linear_density"):
            (a, i), (b, j) = eng.search_vectors(query, 9, method), other.search_vectors(query, 9, method)
            assert eng.names(i) == other.names(j)
            np.testing.assert_allclose(a, b, rtol=1e-5)
        assert [(m.name, m.kind, m.tags, m.samples) for m in eng.models()] == [
            (m.name, m.kind, m.tags, m.samples) for m in other.models()
        ]
        hits, others = eng.similar("m3", k=5), other.similar("m3", k=5)
        assert [hit.name for hit in hits] == [hit.name for hit in others]
    assert findings(eng) == []


def test_unchanged_replaced_added(eng: Engine) -> None:
    names, means, covariances = moments(0)
    eng.ingest_statistics(names, means, covariances, encoder=ENCODER, samples=40, tags=["old"])
    ids = {model.name: model.id for model in eng.models()}
    eng.similar("m7")
    query = means[7]
    assert eng.names(eng.search_vectors(query, 1)[1]) == ["m7"]
    moved = means.copy()
    moved[7] *= -1
    again = [*names, "new"]
    moved = np.concatenate([moved, means[:1] + np.float32(0.1)])
    more = np.concatenate([covariances, covariances[:1]])
    counts = eng.ingest_statistics(again, moved, more, encoder=ENCODER, samples=40)
    assert (counts.added, counts.replaced, counts.unchanged) == (1, 1, 24)
    assert {model.name: model.id for model in eng.models()} == {**ids, "new": max(ids.values()) + 1}
    assert eng.names(eng.search_vectors(query, 26)[1])[-1] == "m7"
    assert eng.get("m7").tags == ("old",)
    assert eng.get("new").tags == ()
    change = eng.services.catalog.last_change()
    counts = eng.ingest_statistics(again, moved, more, encoder=ENCODER, samples=40, tags=["now"])
    assert (counts.added, counts.replaced, counts.unchanged) == (0, 0, 26)
    assert eng.services.catalog.last_change() == change
    assert {model.tags for model in eng.models()} == {("now",)}
    assert len(eng.models(where={"tag": "now"})) == 26
    assert findings(eng) == []


def test_means_alone_have_no_density(eng: Engine) -> None:
    names, means, _ = moments(0)
    each = [["even"] if i % 2 == 0 else ["odd", "few"] for i in range(25)]
    eng.ingest_statistics(names, means, encoder=ENCODER, samples=np.arange(1, 26), tags=each)
    assert eng.names(eng.search_vectors(means[4], 1)[1]) == ["m4"]
    assert [eng.get("m3").samples, eng.get("m3").tags, eng.get("m4").tags] == [4, ("few", "odd"), ("even",)]
    with pytest.raises(MissingStatistics, match="covariance"):
        eng.search_vectors(means[4], 1, "gaussian_density")
    with pytest.raises(MissingStatistics):
        eng.search_vectors(means[4], 1, "linear_density")


def test_an_unknown_encoder_is_external(eng: Engine) -> None:
    names, means, _ = moments(0)
    eng.ingest_statistics(names, means, encoder="my-clip", samples=5)
    assert ("external:my-clip", D) in {(one.name, one.dimension) for one in eng.encoders()}
    assert eng.names(eng.search_vectors(means[2], 1, encoder="external:my-clip")[1]) == ["m2"]
    eng.ingest_statistics(names, -means, encoder="my-clip", samples=5)
    with pytest.raises(EncoderMismatch, match="6 dimensions, the means have 3"):
        eng.ingest_statistics(names, means[:, :3], encoder="my-clip", samples=5)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"names": ["m0"] * 25}, DuplicateName, "'m0' is there more than once"),
    ({"names": [*"abc"]}, InvalidStatistics, r"means must be .* \(3, d\)"),
    ({"names": ["ok", "", *map(str, range(23))]}, InvalidInput, "''"),
    ({"names": "m0"}, InvalidInput, "a list"),
    ({"means": np.ones((25, D), int)}, InvalidStatistics, "floating"),
    ({"means": np.where(np.arange(25)[:, None] == 3, np.nan, 1.0) * np.ones(D)}, InvalidStatistics, "m3: .* finite"),
    ({"means": np.where(np.arange(25)[:, None] == 3, 1e39, 1.0) * np.ones(D)}, InvalidStatistics, "m3: .* finite"),
    (
        {"means": np.where(np.arange(25)[:, None] == 3, -1e10, 1.0) * np.ones(D), "covariances": None},
        InvalidStatistics,
        r"m3: .* beyond 1e\+09",
    ),
    ({"means": np.where(np.arange(25)[:, None] == 9, 0.0, 1.0) * np.ones(D)}, InvalidStatistics, "m9: .* zero"),
    ({"covariances": np.ones((25, D))}, InvalidStatistics, "lower triangle|covariances must be"),
    ({"samples": 0}, InvalidStatistics, "m0: the sample count"),
    ({"samples": 1.5}, InvalidStatistics, "whole number"),
    ({"samples": [1, 2]}, InvalidStatistics, "25 of them"),
    ({"tags": "animal"}, InvalidInput, "a list"),
    ({"tags": [["a"]] * 3}, InvalidInput, "3 lists of tags for 25"),
]


@pytest.mark.parametrize(("wrong", "error", "said"), WRONG)
def test_what_is_wrong_is_named_and_nothing_written(
    eng: Engine, wrong: dict[str, Any], error: type[Exception], said: str
) -> None:
    names, means, covariances = moments(0)
    given: dict[str, Any] = {"names": names, "means": means, "covariances": covariances, "samples": 40, **wrong}
    with pytest.raises(error, match=said):
        eng.ingest_statistics(encoder=ENCODER, **given)
    assert eng.models() == []


def test_a_wrong_covariance_stops_at_its_block(eng: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks before it are there, of its own block nothing; mended and run again, everything is."""
    monkeypatch.setattr(bulk, "BLOCK_MODELS", 10)
    names, means, covariances = moments(0)
    broken = covariances.copy()
    broken[17] = -np.eye(D)
    told: list[tuple[int, int]] = []
    with pytest.raises(InvalidStatistics, match="m17: the covariance is indefinite"):
        eng.ingest_statistics(
            names, means, broken, encoder=ENCODER, samples=40, on_progress=lambda *at: told.append(at)
        )
    assert (len(eng.models()), told) == (10, [(10, 25)])
    assert set(eng.names(eng.search_vectors(means[3], 20)[1])) >= {"m3"}
    counts = eng.ingest_statistics(names, means, covariances, encoder=ENCODER, samples=40)
    assert (counts.added, counts.unchanged) == (15, 10)
    assert findings(eng) == []


def test_what_was_kept_of_samples_goes_with_the_old_statistics(eng: Engine) -> None:
    rows = unit(np.random.default_rng(3).normal(size=(30, D)).astype(np.float32))
    eng.ingest(rows, name="m1", encoder=ENCODER)
    names, means, covariances = moments(0)
    counts = eng.ingest_statistics(names, means, covariances, encoder=ENCODER, samples=40)
    assert (counts.added, counts.replaced) == (24, 1)
    encoder_id, _ = eng.services.session.encoder(ENCODER)
    assert eng.services.catalog.sample_features(encoder_id, [eng.get("m1").id]) == ({}, {})
    assert eng.get("m1").samples == 40


def test_no_models_are_no_error(eng: Engine) -> None:
    counts = eng.ingest_statistics([], np.empty((0, D), np.float32), encoder=ENCODER, samples=1)
    assert (counts.added, counts.replaced, counts.unchanged) == (0, 0, 0)
