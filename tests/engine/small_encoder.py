"""A real, small encoder for tests: fixed random projections of an 8 × 8 picture. No network, no weights to load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.errors import InvalidQuery
from engine.records import EncoderIdentity

DIMENSION = 24


class ProjectionEncoder:
    """Pictures to 24-d unit-norm features; image-only."""

    def __init__(self) -> None:
        self.projection = np.random.default_rng(5).normal(size=(192, DIMENSION)).astype(np.float32)
        self.identity = EncoderIdentity("external:projection", "f" * 64, DIMENSION, 20.0, frozenset({"image"}))

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        small = image.convert("RGB").resize((8, 8), Image.Resampling.BOX)
        return np.asarray(small, np.float32).transpose(2, 0, 1) / 255 - 0.45

    def prepared_to_features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        features = batch.reshape(len(batch), -1) @ self.projection
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    def texts_to_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise InvalidQuery("image-only")
