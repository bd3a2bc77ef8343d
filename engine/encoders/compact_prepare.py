"""Pictures to the compact encoder's input: 128 px, as clean-fid resizes (antialiased, in float)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.bands import channels_to_levels
from engine.encoders.thin import is_thin, resize_thin
from engine.errors import InvalidFeatures

SIZE = 128
MEAN, SCALE = 127.0, 128.0
"""EfficientNet-Lite's own normalisation: (x − 127) / 128 on 8-bit values."""
VERSION = "pad-white,bicubic-float,128,(x-127)/128"


def prepare(image: Image.Image) -> NDArray[np.float32]:
    """An RGB picture to ``(3, 128, 128)`` float32.

    A picture that is not square is padded with white to a square, so that nothing of it is cut off: the encoder
    knows drawings on plain grounds. Resizing is per channel in float (PIL mode ``F``, antialiased bicubic), without
    rounding back to 8 bits, as clean-fid does (Parmar et al. 2022). Thread-safe.
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    side = max(image.size)
    if image.size == (SIZE, SIZE):
        channels = np.asarray(image, np.float32).transpose(2, 0, 1)
    elif is_thin(image, side * side):
        channels = np.clip(resize_thin(image, (SIZE, SIZE), square=True), 0, 255)
    else:
        channels = np.clip(channels_to_levels(image, (SIZE, SIZE), square=True), 0, 255)
    return np.ascontiguousarray((channels - np.float32(MEAN)) / np.float32(SCALE), np.float32)


def checked_batch(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """A batch as it came, if it is one of prepared pictures, ``(n, 3, 128, 128)`` float32.

    Raises:
        InvalidFeatures: another shape or dtype.
    """
    if batch.ndim != 4 or batch.shape[1:] != (3, SIZE, SIZE) or batch.dtype != np.float32:
        raise InvalidFeatures(f"a batch is float32 (n, 3, {SIZE}, {SIZE}), got {batch.dtype} {batch.shape}")
    return batch
