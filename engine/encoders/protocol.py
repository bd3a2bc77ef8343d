"""What every encoder offers: an identity, and the two arrows into one feature space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.errors import EngineError, InvalidImage
from engine.records import EncoderIdentity

__all__ = ["Encoder", "EncoderIdentity", "image_to_prepared", "images_to_features"]


@runtime_checkable
class Encoder(Protocol):
    """Images and texts to unit-norm features.

    The image side is split so that worker threads can do the first half while the encoder does the second:
    ``prepare`` is pure, thread-safe and per image; ``prepared_to_features`` takes a stacked batch.
    """

    @property
    def identity(self) -> EncoderIdentity:
        """Name, fingerprint, dimension, temperature and modalities."""
        ...

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """An RGB image to one preprocessed ``(c, h, w)`` float32 array. Thread-safe."""
        ...

    def prepared_to_features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, c, h, w)`` float32, as ``prepare`` makes them, to ``(n, d)`` float32 of unit norm."""
        ...

    def texts_to_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts to ``(n, d)`` float32 of unit norm.

        Raises:
            InvalidQuery: the encoder is image-only.
        """
        ...


def images_to_features(encoder: Encoder, images: Iterable[Image.Image]) -> NDArray[np.float32]:
    """RGB images to ``(n, d)`` float32 unit-norm features, in one batch; of the images one at a time is held.

    Raises:
        InvalidImage: as ``image_to_prepared``.
    """
    prepared = [image_to_prepared(encoder, image) for image in images]
    if not prepared:
        return np.empty((0, encoder.identity.dimension), np.float32)
    return encoder.prepared_to_features(np.stack(prepared))


def image_to_prepared(encoder: Encoder, image: Image.Image) -> NDArray[np.float32]:
    """``encoder.prepare``, whose failures are failures of this picture.

    Raises:
        InvalidImage: the picture cannot be prepared, or not in the memory there is.
    """
    try:
        return encoder.prepare(image)
    except EngineError:
        raise
    except Exception as exc:
        width, height = image.size
        raise InvalidImage(
            f"a picture of {width} x {height} pixels cannot be prepared for {encoder.identity.name}: {exc!r:.200}"
        ) from exc
