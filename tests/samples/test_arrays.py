"""Features and moments from NumPy files: what is read, and what is refused before memory is taken for it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from engine.errors import InvalidFeatures, InvalidInput, InvalidStatistics
from engine.samples import FeatureSource, MomentsSource
from engine.samples.arrays import npy_to_features, npz_to_source

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((10, 4))


def rows(source: FeatureSource, start: int = 0, size: int = 4096) -> NDArray[np.float32]:
    return np.concatenate(list(source.chunks(start, size)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_becomes_float32(tmp_path: Path, dtype: Any) -> None:
    wanted = FEATURES.astype(dtype)
    np.save(tmp_path / "a.npy", wanted)
    np.savez(tmp_path / "a.npz", features=wanted)
    for source in (npy_to_features(tmp_path / "a.npy"), npz_to_source(tmp_path / "a.npz"), FeatureSource(wanted)):
        assert isinstance(source, FeatureSource)
        assert (source.count(), source.dimension, source.kind) == (10, 4, "features")
        assert rows(source).dtype == np.float32
        assert np.array_equal(rows(source), wanted.astype(np.float32))


@given(st.integers(0, 12), st.integers(1, 12))
def test_chunks_start_anywhere(start: int, size: int) -> None:
    source = FeatureSource(FEATURES)
    chunks = list(source.chunks(start, size))
    assert all(len(chunk) <= size for chunk in chunks)
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * max(0, len(chunks) - 1)
    assert np.array_equal(np.concatenate([*chunks, np.empty((0, 4))]), FEATURES.astype(np.float32)[start:])


def test_fortran_order(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(FEATURES))
    np.savez_compressed(tmp_path / "a.npz", np.asfortranarray(FEATURES))
    for source in (npy_to_features(tmp_path / "a.npy"), npz_to_source(tmp_path / "a.npz")):
        assert isinstance(source, FeatureSource)
        assert np.array_equal(rows(source, 3, 2), FEATURES.astype(np.float32)[3:])
        assert all(chunk.flags.c_contiguous for chunk in source.chunks())


def test_the_only_matrix_is_taken_for_the_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", whatever=FEATURES, labels=np.arange(10))
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, FeatureSource)
    assert source.count() == 10
    np.savez(tmp_path / "b.npz", one=FEATURES, two=FEATURES)
    with pytest.raises(InvalidInput, match="one, two") as caught:
        npz_to_source(tmp_path / "b.npz")
    assert "features" in (caught.value.hint or "")
    np.savez(tmp_path / "c.npz")
    with pytest.raises(InvalidInput, match="nothing"):
        npz_to_source(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("row", "value", "reason"), [(7, np.nan, "row 7 is not finite"), (0, np.inf, "row 0"), (9, 1e300, "row 9 is not")]
)
def test_rows_that_are_not_finite_are_named(row: int, value: float, reason: str) -> None:
    bad = FEATURES.copy()
    bad[row, 2] = value
    with pytest.raises(InvalidFeatures, match=reason):
        list(FeatureSource(bad).chunks(size=3))


def test_zero_rows_are_named() -> None:
    bad = FEATURES.copy()
    bad[8] = 0
    with pytest.raises(InvalidFeatures, match="row 8 is zero"):
        list(FeatureSource(bad).chunks(start=2, size=3))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.int64),
        np.zeros((3, 4), complex),
        np.zeros((3, 4), np.uint8),
        np.zeros(4),
        np.zeros((2, 3, 4)),
        np.zeros((0, 4)),
        np.zeros((4, 0)),
        np.array([["a"]]),
        np.array([[object()]], object),
    ],
)
def test_arrays_that_are_no_features(tmp_path: Path, array: NDArray[Any]) -> None:
    with pytest.raises(InvalidFeatures):
        FeatureSource(array)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InvalidFeatures):
        npy_to_features(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", features=array)
    with pytest.raises(InvalidFeatures):
        npz_to_source(tmp_path / "a.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    np.save(tmp_path / "a.npy", np.array([[Bomb()]], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", features=np.array([[Bomb()]], object))
    with pytest.raises(InvalidFeatures, match="objects"):
        npy_to_features(tmp_path / "a.npy")
    with pytest.raises(InvalidFeatures, match="objects"):
        npz_to_source(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


def npz_with_header(path: Path, shape: str, dtype: str = "<f4", name: str = "features") -> Path:
    """An ``.npz`` whose one array claims a shape and holds nothing."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
    return path


def test_a_huge_array_is_refused_by_its_header(tmp_path: Path) -> None:
    path = npz_with_header(tmp_path / "a.npz", "(1000000000, 1000000)")
    with pytest.raises(InvalidInput, match="more than the 1000 allowed") as caught:
        npz_to_source(path, max_archive_bytes=1000)
    assert "ENGINE_MAX_ARCHIVE_BYTES" in (caught.value.hint or "")
    with pytest.raises(InvalidFeatures, match="cut short"):
        npz_to_source(npz_with_header(tmp_path / "b.npz", "(1000, 1000)"))
    with pytest.raises(InvalidFeatures, match="shape"):
        npz_to_source(npz_with_header(tmp_path / "c.npz", "(-1, -1000)"))


def test_a_compressed_array_that_unpacks_to_too_much(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((1000, 1000), np.float32))
    with pytest.raises(InvalidInput, match="4000000 bytes"):
        npz_to_source(tmp_path / "a.npz", max_archive_bytes=3_999_999)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x93NUMPY\x01\0", b"\x93NUMPY\x02\0", b"PK\x03\x04", b"\x80\x04"])
)
def test_any_bytes_give_a_typed_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(head + data)
    with pytest.raises(InvalidFeatures):
        npy_to_features(path)
    with pytest.raises(InvalidFeatures):
        npz_to_source(path)


def test_truncated_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FEATURES)
    np.savez(tmp_path / "a.npz", features=FEATURES)
    for name, read in (("a.npy", npy_to_features), ("a.npz", npz_to_source)):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(InvalidFeatures):
            read(tmp_path / name)


def test_digests_follow_content(tmp_path: Path) -> None:
    one, two = FeatureSource(FEATURES), FeatureSource(FEATURES.copy())
    assert one.digest() == two.digest()
    other = FEATURES.copy()
    other[9, 3] += 1
    assert FeatureSource(other).digest() != one.digest()
    assert FeatureSource(FEATURES.reshape(4, 10)).digest() != one.digest()
    np.save(tmp_path / "a.npy", FEATURES)
    np.save(tmp_path / "b.npy", other)
    assert npy_to_features(tmp_path / "a.npy").digest() != npy_to_features(tmp_path / "b.npy").digest()


# --- moments


def test_moments_as_fid_tools_write_them(tmp_path: Path) -> None:
    mu, sigma = FEATURES.mean(axis=0), np.cov(FEATURES, rowvar=False)
    np.savez(tmp_path / "a.npz", mu=mu, sigma=sigma)
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, MomentsSource)
    assert (source.kind, source.samples) == ("moments", None)
    assert source.mean.dtype == source.covariance.dtype == np.float64
    assert np.array_equal(source.mean, mu)
    np.testing.assert_allclose(source.covariance, sigma, rtol=1e-15)
    assert np.array_equal(source.covariance, source.covariance.T)


@pytest.mark.parametrize("key", ["n", "samples"])
def test_the_number_of_samples(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "a.npz", mu=np.ones(2), sigma=np.eye(2), **{key: np.int64(50_000)})
    source = npz_to_source(tmp_path / "a.npz")
    assert isinstance(source, MomentsSource)
    assert source.samples == 50_000
    for wrong in (0, -3, 2.5, np.array([1, 2])):
        np.savez(tmp_path / "b.npz", mu=np.ones(2), sigma=np.eye(2), **{key: wrong})
        with pytest.raises(InvalidStatistics):
            npz_to_source(tmp_path / "b.npz")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounded_covariances_pass(dtype: Any) -> None:
    features = RNG.standard_normal((20, 64))  # rank 19: the lowest eigenvalues are zero up to rounding
    sigma = np.cov(features, rowvar=False).astype(dtype)
    sigma[0, 1] = np.nextafter(sigma[0, 1], dtype(9))
    source = MomentsSource(np.ones(64, dtype), sigma)
    assert np.array_equal(source.covariance, source.covariance.T)


def test_a_zero_covariance_is_one() -> None:
    assert MomentsSource(np.ones(3), np.zeros((3, 3))).covariance.shape == (3, 3)


@pytest.mark.parametrize(
    ("mu", "sigma", "reason"),
    [
        (np.ones((1, 2)), np.eye(2), "mu must have 1 dimensions"),
        (np.ones(2), np.eye(2)[0], "sigma must have 2 dimensions"),
        (np.ones(2), np.eye(3), "sigma cannot have shape"),
        (np.ones(2), np.ones((2, 3)), "sigma cannot have shape"),
        (np.ones(0), np.ones((0, 0)), "sigma cannot have shape"),
        (np.ones(2, np.int64), np.eye(2), "mu must be float16"),
        (np.ones(2), np.eye(2, dtype=complex), "sigma must be float16"),
        (np.array([1, np.nan]), np.eye(2), "mu has a NaN"),
        (np.ones(2), np.full((2, 2), np.inf), "sigma has a NaN"),
        (np.ones(2), np.array([[1.0, 0.5], [0.4, 1.0]]), "not symmetric"),
        (np.ones(2), np.array([[1.0, 2.0], [2.0, 1.0]]), "indefinite"),  # eigenvalues 3 and −1
        (np.ones(2), -np.eye(2), "indefinite"),
    ],
)
def test_what_are_no_moments(tmp_path: Path, mu: NDArray[Any], sigma: NDArray[Any], reason: str) -> None:
    with pytest.raises(InvalidStatistics, match=reason):
        MomentsSource(mu, sigma)
    np.savez(tmp_path / "a.npz", mu=mu, sigma=sigma)
    with pytest.raises(InvalidStatistics, match=reason):
        npz_to_source(tmp_path / "a.npz")


def test_object_moments_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.array([None], object), sigma=np.eye(1))
    with pytest.raises(InvalidStatistics, match="objects"):
        npz_to_source(tmp_path / "a.npz")


@given(arrays.arrays(np.float64, (5, 3), elements=st.floats(-100, 100)))
def test_every_sample_covariance_passes(features: NDArray[np.float64]) -> None:
    sigma = np.cov(features, rowvar=False)
    assert np.allclose(MomentsSource(features.mean(axis=0), sigma).covariance, sigma)


def test_moments_digest() -> None:
    one = MomentsSource(np.ones(2), np.eye(2), 5).digest()
    assert MomentsSource(np.ones(2, np.float32), np.eye(2), 5).digest() == one
    assert MomentsSource(np.ones(2), np.eye(2), 6).digest() != one
    assert MomentsSource(np.ones(2), np.eye(2) * 2, 5).digest() != one


def test_records_can_be_stored_as_json(tmp_path: Path) -> None:
    import json

    np.savez(tmp_path / "a.npz", mu=np.ones(2), sigma=np.eye(2))
    assert json.loads(json.dumps(npz_to_source(tmp_path / "a.npz").describe()))["dimension"] == 2
    assert json.loads(json.dumps(FeatureSource(FEATURES).describe())) == {
        "type": "features",
        "rows": 10,
        "dimension": 4,
    }


def test_an_array_in_an_npz_of_an_unknown_version(tmp_path: Path) -> None:
    stream = io.BytesIO(b"\x93NUMPY\x03\0" + b"\0" * 64)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("features.npy", stream.getvalue())
    with pytest.raises(InvalidFeatures, match="format"):
        npz_to_source(tmp_path / "a.npz")
