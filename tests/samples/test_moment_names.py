"""Features or moments? Names that leave no doubt are read, doubt is refused with the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import InvalidInput
from engine.samples import FeatureSource, MomentsSource, Source, open_source
from engine.samples.arrays import npy_to_features, npz_to_source

D = 4
ROWS = np.random.default_rng(0).normal(size=(9, D))
MEAN, COVARIANCE = ROWS.mean(axis=0), np.cov(ROWS, rowvar=False)
SQUARE = ROWS[:D]


def array_to_source(array: np.ndarray) -> Source:
    return open_source(array, settings=Settings())


@pytest.mark.parametrize(
    "names",
    [
        ("mu", "sigma"), ("MU", "SIGMA"), ("Mu", "sigma"), ("mean", "cov"), ("Mean", "Cov"), ("mean", "covariance"),
        ("mean", "sigma"), ("mu", "cov"), ("mu_s", "sigma_s"), ("means", "covariances"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_names_without_doubt_are_moments(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "a.npz", **dict(zip(names, (MEAN, COVARIANCE), strict=True)), N=np.int32(9), other=np.ones(2))
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, MomentsSource)
    np.testing.assert_array_equal(source.mean, MEAN)
    np.testing.assert_allclose(source.covariance, COVARIANCE, rtol=1e-15)
    assert source.samples == 9


def test_the_pooled_moments_of_guided_diffusion(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu_s=np.ones(2), sigma_s=np.eye(2), sigma=COVARIANCE, mu=MEAN)
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, MomentsSource)
    assert source.mean.size == D


@pytest.mark.parametrize(
    "arrays",
    [
        {"arr_0": MEAN, "arr_1": COVARIANCE},
        {"centre": MEAN, "spread": COVARIANCE},
        {"raw_mean": MEAN, "raw_cov": SQUARE},
        {"m": MEAN.astype(">f4"), "s": COVARIANCE},
        {"cov": COVARIANCE},
        {"cov": COVARIANCE.astype(np.float16)},
        {"mean": MEAN, "cov": COVARIANCE, "covariance": COVARIANCE},
        {"mu": MEAN, "MU": MEAN, "sigma": COVARIANCE},
        {"names": np.array(["a"]), "means": MEAN[None], "samples": np.array([3])},
    ],
    ids=lambda arrays: " ".join(arrays),
)
def test_doubt_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidInput) as caught:
        npz_to_source(tmp_path / "a.npz")
    assert caught.value.hint


@pytest.mark.parametrize(
    "arrays",
    [
        {"features": ROWS},
        {"features": SQUARE, "labels": MEAN},
        {"features": COVARIANCE},
        {"features": ROWS, "mean": MEAN, "cov": COVARIANCE},
        {"anything": SQUARE},
        {"anything": SQUARE, "labels": np.arange(D)},
        {"anything": ROWS, "weights": np.ones(9)},
        {"anything": ROWS, "mean": MEAN, "sigma": MEAN},
        {"names": np.array(["a"] * 9), "means": ROWS},
    ],
    ids=lambda arrays: " ".join(arrays),
)
def test_ordinary_features_are_features(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, FeatureSource)
    assert source.count() == len(next(array for array in arrays.values() if array.ndim == 2))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_a_bare_covariance_is_refused(tmp_path: Path, dtype: str) -> None:
    covariance = np.cov(np.random.default_rng(1).normal(size=(20, 300)), rowvar=False).astype(dtype)
    np.save(tmp_path / "a.npy", covariance)
    with pytest.raises(InvalidInput, match=r"a\.npy is a symmetric 300 × 300 matrix") as caught:
        npy_to_features(tmp_path / "a.npy")
    assert "'mu' and 'sigma'" in (caught.value.hint or "")
    with pytest.raises(InvalidInput, match="symmetric"):
        array_to_source(covariance)
    covariance[299, 0] += 1  # features by a single number
    np.save(tmp_path / "a.npy", covariance)
    for source in (npy_to_features(tmp_path / "a.npy"), array_to_source(covariance)):
        assert isinstance(source, FeatureSource)
        assert source.count() == 300
    covariance[0, 0] = np.nan
    assert array_to_source(covariance).kind == "features"  # what is wrong with it is said when it is read


def test_what_the_collection_takes(tmp_path: Path) -> None:
    np.savez(tmp_path / "moments.npz", mean=MEAN, cov=COVARIANCE, samples=9)
    with Engine.open(f"sqlite:///{tmp_path}/z.db", create=True) as engine:
        model = engine.ingest(tmp_path / "moments.npz", encoder="external:e")
        assert (model.samples, model.source["type"]) == (9, "moments")
        assert engine.import_moments(tmp_path / "moments.npz", encoder="external:e", name="b").samples == 9
        with pytest.raises(InvalidInput, match="symmetric"):
            engine.ingest(COVARIANCE, name="c", encoder="external:e")
        assert engine.ingest(FeatureSource(COVARIANCE), name="c", encoder="external:e").samples == D


# --- the byte order


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_features_of_either_byte_order(tmp_path: Path, dtype: str) -> None:
    given = ROWS.astype(dtype)
    np.save(tmp_path / "a.npy", given)
    np.savez(tmp_path / "a.npz", features=given)
    native = ROWS.astype(dtype[1:]).astype(np.float32)
    sources = npy_to_features(tmp_path / "a.npy"), npz_to_source(tmp_path / "a.npz"), array_to_source(given)
    for source in sources:
        assert isinstance(source, FeatureSource)
        np.testing.assert_array_equal(np.concatenate(list(source.chunks())), native)


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_moments_of_either_byte_order(tmp_path: Path, dtype: str) -> None:
    np.savez(tmp_path / "a.npz", mu=MEAN.astype(dtype), sigma=COVARIANCE.astype(dtype), n=np.array(9, ">i4"))
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, MomentsSource)
    np.testing.assert_array_equal(source.mean, MEAN.astype(dtype[1:]))
    np.testing.assert_array_equal(source.covariance, COVARIANCE.astype(dtype[1:]))
    assert source.samples == 9
