"""What every source of samples offers, whether files on disk or a live generator.

Order is part of the contract: sample i is the same picture every time, so that an interrupted run can go on at
sample i and end with the statistics of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL import Image


@dataclass(frozen=True)
class Sample:
    """One picture that can be had.

    ``index`` is its place in the source's order; ``label`` names it in reports (a relative path, or ``seed 7 #3``);
    ``load`` decodes it to a fully loaded RGB image, or raises ``InvalidImage``, and may run on any thread.
    """

    index: int
    label: str
    load: Callable[[], Image.Image]


@runtime_checkable
class ImageSource(Protocol):
    """An ordered, re-readable stream of pictures."""

    @property
    def kind(self) -> str:
        """``folder``, ``archive``, ``generator`` …: what the model was ingested from."""
        ...

    def describe(self) -> dict[str, Any]:
        """What is recorded with the model: JSON-serialisable; for a generator, enough to draw more from it."""
        ...

    def digest(self) -> str:
        """Hex digest of the content's identity: unchanged content gives the same digest, changed content another."""
        ...

    def count(self) -> int:
        """How many samples there are, good or bad."""
        ...

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Samples ``start, start + 1, …`` in order. Iterating is cheap; ``Sample.load`` is the work."""
        ...

    def close(self) -> None:
        """Release open files."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Something that draws new images."""

    @property
    def kind(self) -> str:
        """``python``, ``program``, ``onnx`` or ``diffusers``."""
        ...

    def describe(self) -> dict[str, Any]:
        """The JSON-serialisable record from which ``options_to_generator`` builds it again."""
        ...

    def digest(self) -> str:
        """Hex digest of what determines its output (file contents where there are files)."""
        ...

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        """``count`` RGB images; the same seed and count give the same images. ``0 <= seed < 2**31``.

        Raises:
            GeneratorError: it failed, timed out, or drew something that is not an image.
        """
        ...


Options = Mapping[str, Any]
