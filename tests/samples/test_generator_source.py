"""A generator's pictures as numbered samples: any one can be had again, and nothing is drawn before its time."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.errors import GeneratorError, InvalidInput
from engine.samples import Generator, GeneratorSource, ImageSource
from engine.samples.generators import batch_seed


class Noise:
    """A generator whose pictures depend on the seed and on their place; it remembers its draws."""

    kind = "noise"

    def __init__(self, short: int = 0) -> None:
        self.draws: list[tuple[int, int]] = []
        self._short = short

    def describe(self) -> dict[str, str]:
        return {"type": "noise"}

    def digest(self) -> str:
        return "0123"

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        self.draws.append((count, seed))
        pixels = np.random.default_rng(seed).integers(0, 256, (count - self._short, 2, 2, 3), dtype=np.uint8)
        return [Image.fromarray(picture) for picture in pixels]


def loaded(source: GeneratorSource, start: int = 0) -> list[bytes]:
    return [sample.load().tobytes() for sample in source.samples(start)]


def test_it_is_what_it_says() -> None:
    source = GeneratorSource(Noise(), 5, 7, 2)
    assert isinstance(source, ImageSource)
    assert isinstance(Noise(), Generator)
    assert source.describe() == {
        "type": "generator", "generator": {"type": "noise"}, "samples": 5, "seed": 7, "batch": 2,
    }  # fmt: skip
    assert [sample.label for sample in source.samples(3)] == ["seed 7 #3", "seed 7 #4"]


def test_batches_and_their_seeds_by_hand() -> None:
    generator = Noise()
    loaded(GeneratorSource(generator, 5, 7, 2))
    first = int.from_bytes(hashlib.sha256(b"7:0").digest()[:4], "big") % 2**31
    assert generator.draws[0] == (2, first)
    assert generator.draws == [(2, batch_seed(7, 0)), (2, batch_seed(7, 1)), (1, batch_seed(7, 2))]


@given(st.integers(0, 2**63), st.integers(0, 10**6))
def test_batch_seeds_are_in_range(seed: int, batch: int) -> None:
    assert 0 <= batch_seed(seed, batch) < 2**31


@given(count=st.integers(1, 40), batch=st.integers(1, 12), start=st.integers(0, 45), seed=st.integers(0, 9))
def test_drawing_can_start_anywhere(count: int, batch: int, start: int, seed: int) -> None:
    whole = GeneratorSource(Noise(), count, seed, batch)
    tail = GeneratorSource(Noise(), count, seed, batch)
    assert [sample.index for sample in tail.samples(start)] == list(range(start, count))
    assert loaded(tail, start) == loaded(whole)[start:]


def test_nothing_is_drawn_before_it_is_loaded() -> None:
    generator = Noise()
    samples = list(GeneratorSource(generator, 100, 0, 10).samples())
    assert generator.draws == []
    samples[55].load()
    assert generator.draws == [(10, batch_seed(0, 5))]


def test_a_sample_can_be_loaded_twice() -> None:
    generator = Noise()
    sample = next(GeneratorSource(generator, 4, 0, 4).samples())
    assert sample.load().tobytes() == sample.load().tobytes()
    assert len(generator.draws) == 2, "it was let go of the first time"


def test_each_batch_is_drawn_once_under_many_threads() -> None:
    generator = Noise()
    source = GeneratorSource(generator, 64, 3, 8)
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda sample: sample.load().tobytes(), source.samples()))
    assert parallel == loaded(GeneratorSource(Noise(), 64, 3, 8))
    assert sorted(generator.draws) == sorted((8, batch_seed(3, number)) for number in range(8))


def test_seed_batch_and_count_are_part_of_the_identity() -> None:
    digests = {GeneratorSource(Noise(), *how).digest() for how in ((5, 0, 2), (6, 0, 2), (5, 1, 2), (5, 0, 3))}
    assert len(digests) == 4
    assert GeneratorSource(Noise(), 5, 0, 2).digest() in digests


def test_a_generator_that_draws_too_few() -> None:
    with pytest.raises(GeneratorError, match="drew 3 pictures where 4"):
        loaded(GeneratorSource(Noise(short=1), 4, 0, 4))


@pytest.mark.parametrize(("samples", "seed", "batch"), [(0, 0, 1), (1, -1, 1), (1, 0, 0), (True, 0, 1), (1.5, 0, 1)])
def test_wrong_numbers(samples: int, seed: int, batch: int) -> None:
    with pytest.raises(InvalidInput, match="whole number"):
        GeneratorSource(Noise(), samples, seed, batch)
