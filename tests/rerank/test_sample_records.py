"""Packed samples against ``best_k`` on the samples themselves: what is dropped unread is never missed.

A number of a record is rounded by up to 1/65534 of the largest: with few dimensions a cosine feels that most.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rerank.sample_records import PackedSamples, best_k_at, features_to_packed, samples_bytes
from engine.scores import best_k


def samples(count: int, dimension: int, seed: int, spread: float = 0.5) -> np.ndarray:
    random = np.random.default_rng(seed)
    scales = np.arange(1, dimension + 1) ** -0.7
    rows = random.standard_normal(dimension) * scales + spread * random.standard_normal((count, dimension)) * scales
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def rotation_of(dimension: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dimension, dimension)))[0].astype(np.float32)


def scored(models: list[np.ndarray], rotation: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    records = [features_to_packed(rows, rotation) for rows in models]
    addresses = np.array([record.ctypes.data for record in records], np.uint64)
    return best_k_at(addresses, rotation.astype(np.float64) @ query, k)


@pytest.mark.parametrize("dimension", [1, 2, 3, 8, 31, 64, 130])
@pytest.mark.parametrize("k", [1, 10])
def test_it_agrees_with_best_k(dimension: int, k: int) -> None:
    models = [samples(count, dimension, seed) for seed, count in enumerate((1, 2, 9, 10, 11, 64, 300))]
    for seed in range(3):
        query = samples(1, dimension, 50 + seed)[0]
        found = scored(models, rotation_of(dimension), query, k)
        assert found == pytest.approx([best_k(rows, query, k) for rows in models], abs=6e-5)


@settings(max_examples=60, deadline=None)
@given(
    dimension=st.integers(1, 40), count=st.integers(1, 60), k=st.integers(1, 70), seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 1e-3, 0.3, 3.0]),
)  # fmt: skip
def test_what_is_dropped_is_never_among_the_nearest(
    dimension: int, count: int, k: int, seed: int, spread: float
) -> None:
    rows = samples(count, dimension, seed, spread)
    for query in (rows[0], samples(1, dimension, seed + 1)[0], -rows[-1]):
        assert scored([rows], rotation_of(dimension, seed), query, k)[0] == pytest.approx(
            best_k(rows, query, k), abs=6e-5
        )


def test_a_record_worked_by_hand() -> None:
    rows = np.array([[1, 0], [0, 1]], np.float32)
    record = features_to_packed(rows, np.eye(2, dtype=np.float32))
    assert record.nbytes == samples_bytes(2, 2) == 64
    mean, own, residuals = PackedSamples(record, 2).rows()
    assert PackedSamples(record, 2).count == 2
    assert mean.tolist() == [0.5, 0.5]
    assert own.tolist() == [0.5, 0.5]
    assert residuals == pytest.approx(np.array([[0.5, -0.5], [-0.5, 0.5]]))


def test_no_candidates() -> None:
    assert best_k_at(np.empty(0, np.uint64), np.zeros(4), 3).shape == (0,)
