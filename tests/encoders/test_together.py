"""One encoder for many threads: the same features, fewer calls, and nobody pays for another's mistake."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.encoders.async_batcher import BatchingEncoder
from engine.errors import InvalidQuery
from tests.engine.small_encoder import ProjectionEncoder


class Counting(ProjectionEncoder):
    """Holds its first call until it is let go, and knows how many rows it was given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.go, self.entered = threading.Event(), threading.Event()

    def prepared_to_features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.entered.set()
        self.go.wait(10)
        self.sizes.append(len(batch))
        if np.isnan(batch).any():
            raise InvalidQuery("a NaN")
        return super().prepared_to_features(batch)

    def texts_to_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.go.wait(10)
        self.sizes.append(len(texts))
        return np.stack([np.full(24, len(text), np.float32) for text in texts])


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def wait_for(together: BatchingEncoder, waiting: int) -> None:
    """Until so many calls wait behind the one that is being encoded."""
    deadline = time.monotonic() + 10
    while together._waiting.qsize() < waiting and time.monotonic() < deadline:
        time.sleep(0.001)
    assert together._waiting.qsize() == waiting


@pytest.fixture
def inner() -> Counting:
    return Counting()


def test_what_waits_is_encoded_together_and_is_the_same(inner: Counting) -> None:
    together = BatchingEncoder(inner)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(together.prepared_to_features, pictures(1, 0))]
        assert inner.entered.wait(10)
        asked += [pool.submit(together.prepared_to_features, pictures(1, i)) for i in range(1, 12)]
        wait_for(together, 11)
        inner.go.set()
        found = [one.result(10) for one in asked]
    plain = ProjectionEncoder()
    for i, features in enumerate(found):
        np.testing.assert_allclose(features, plain.prepared_to_features(pictures(1, i)), rtol=1e-5, atol=1e-6)
    assert sorted(inner.sizes) == [1, 11]
    together.close()


def test_a_batch_has_its_bounds(inner: Counting) -> None:
    together = BatchingEncoder(inner, most=4)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(together.prepared_to_features, pictures(3, 0))]
        assert inner.entered.wait(10)
        asked += [pool.submit(together.prepared_to_features, pictures(3, i)) for i in range(1, 5)]
        wait_for(together, 4)
        inner.go.set()
        assert all(one.result(10).shape == (3, 24) for one in asked)
    assert inner.sizes == [3] * 5
    together.close()


def test_one_bad_row_is_its_callers_error_alone(inner: Counting) -> None:
    together = BatchingEncoder(inner)
    bad = np.full((1, 3, 8, 8), np.nan, np.float32)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(together.prepared_to_features, pictures(1))
        assert inner.entered.wait(10)
        rest = [pool.submit(together.prepared_to_features, rows) for rows in (pictures(1, 1), bad, pictures(1, 2))]
        wait_for(together, 3)
        inner.go.set()
        assert first.result(10).shape == (1, 24)
        assert rest[0].result(10).shape == rest[2].result(10).shape == (1, 24)
        with pytest.raises(InvalidQuery):
            rest[1].result(10)
    together.close()


def test_texts_are_remembered_up_to_a_number(inner: Counting) -> None:
    inner.go.set()
    together = BatchingEncoder(inner, remembered=2)
    assert together.texts_to_features(["a", "bb", "a"])[:, 0].tolist() == [1, 2, 1]
    assert inner.sizes == [2]
    together.texts_to_features(["bb", "a"])
    assert inner.sizes == [2]
    together.texts_to_features(["ccc"])  # the oldest, bb, goes
    together.texts_to_features(["a"])
    assert inner.sizes == [2, 1]
    together.texts_to_features(["bb"])
    assert inner.sizes == [2, 1, 1]
    together.close()


def test_it_answers_after_it_was_closed(inner: Counting) -> None:
    inner.go.set()
    together = BatchingEncoder(inner)
    together.close()
    together.close()
    assert together.prepared_to_features(pictures(2)).shape == (2, 24)
    assert together.texts_to_features(["abc"])[0, 0] == 3


def test_what_was_asked_is_answered_before_it_closes(inner: Counting) -> None:
    together = BatchingEncoder(inner)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(together.prepared_to_features, pictures(1, 0))]
        assert inner.entered.wait(10)
        asked += [pool.submit(together.prepared_to_features, pictures(1, i)) for i in range(1, 3)]
        wait_for(together, 2)
        closing = pool.submit(together.close)
        inner.go.set()
        closing.result(10)
        assert all(one.result(10).shape == (1, 24) for one in asked)
