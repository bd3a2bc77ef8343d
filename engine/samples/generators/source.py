"""A generator as a source of samples: numbered pictures that can be drawn from any place on.

Sample i is picture ``i mod B`` of batch ``i div B``, where B is the batch size. Batch b is drawn with the seed
``SHA-256(f"{seed}:{b}")``, its first four bytes read as a big-endian number, modulo 2³¹. So no batch depends on
another, and an interrupted run goes on where it stopped with the very same pictures.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from PIL import Image

from engine.errors import GeneratorError
from engine.numbers import checked_whole
from engine.samples.protocol import Generator, Sample

BATCH = 32


def batch_seed(seed: int, batch: int) -> int:
    """The seed of one batch, in [0, 2³¹)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big") % 2**31


class GeneratorSource:
    """The first ``samples`` pictures of a generator under one seed.

    Batches are drawn one at a time, when their first picture is loaded. A picture is let go of when it is loaded, so
    about one batch is held; loading it once more draws its batch again.
    """

    kind = "generator"

    def __init__(self, generator: Generator, samples: int, seed: int = 0, batch: int | None = None) -> None:
        """Number a generator's pictures.

        Args:
            batch: pictures a draw; default: what the generator prefers (its attribute ``batch``), else 32.

        Raises:
            InvalidInput: ``samples``, ``batch`` or the seed is not a whole number, or is out of range.
        """
        batch = getattr(generator, "batch", BATCH) if batch is None else batch
        self._generator = generator
        self._samples = checked_whole(samples, "samples", 1)
        self._seed = checked_whole(seed, "seed")
        self._batch = checked_whole(batch, "batch", 1)
        self._lock = threading.Lock()

    @property
    def generator(self) -> Generator:
        """What draws."""
        return self._generator

    def describe(self) -> dict[str, Any]:
        """The generator's record, and how it was drawn from."""
        return {
            "type": self.kind,
            "generator": self._generator.describe(),
            "samples": self._samples,
            "seed": self._seed,
            "batch": self._batch,
        }

    def digest(self) -> str:
        """SHA-256 of the generator's digest and how it is drawn from."""
        marks = [self._generator.kind, self._generator.digest(), self._samples, self._seed, self._batch]
        return hashlib.sha256(json.dumps(marks).encode()).hexdigest()

    def count(self) -> int:
        """How many pictures will be drawn."""
        return self._samples

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """The pictures from number ``start`` on. Nothing is drawn until one is loaded."""
        for number in range(start // self._batch, -(-self._samples // self._batch)):
            first = number * self._batch
            batch = _Batch(self, number, min(self._batch, self._samples - first))
            for place in range(max(start - first, 0), batch.size):
                label = f"seed {self._seed} #{first + place}"
                yield Sample(first + place, label, partial(batch.take, place))

    def close(self) -> None:
        """Nothing is held open."""

    def draw_batch(self, number: int, size: int) -> list[Image.Image]:
        """Draw one batch; never two at once, since generators need not be thread-safe.

        Raises:
            GeneratorError: it failed, or drew another number of pictures.
        """
        with self._lock:
            images = self._generator.draw(size, batch_seed(self._seed, number))
        if len(images) != size:
            raise GeneratorError(f"the generator drew {len(images)} pictures where {size} were asked for")
        return images


class _Batch:
    """One batch, drawn when first needed, each picture given away once."""

    def __init__(self, source: GeneratorSource, number: int, size: int) -> None:
        self.size = size
        self._source = source
        self._number = number
        self._images: dict[int, Image.Image] = {}
        self._lock = threading.Lock()

    def take(self, place: int) -> Image.Image:
        with self._lock:
            if place not in self._images:
                drawn = self._source.draw_batch(self._number, self.size)
                self._images = dict(enumerate(drawn))
            return self._images.pop(place)
