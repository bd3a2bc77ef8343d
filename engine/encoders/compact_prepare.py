"""Pictures to the compact encoder's input: 128 px, as clean-fid resizes (antialiased, in float)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    width, height = image.size
    if width != height:
        side = max(width, height)
        square = Image.new("RGB", (side, side), (255, 255, 255))
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        image = square
    if image.size == (SIZE, SIZE):
        channels = np.asarray(image, np.float32).transpose(2, 0, 1)
    else:
        size = (SIZE, SIZE)
        channels = np.stack([
            np.asarray(channel.convert("F").resize(size, Image.Resampling.BICUBIC)) for channel in image.split()
        ])  # fmt: skip
        np.clip(channels, 0, 255, out=channels)
    return np.ascontiguousarray((channels - np.float32(MEAN)) / np.float32(SCALE), np.float32)


def checked_batch(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """A batch as it came, if it is one of prepared pictures, ``(n, 3, 128, 128)`` float32.

    Raises:
        InvalidFeatures: another shape or dtype.
    """
    if batch.ndim != 4 or batch.shape[1:] != (3, SIZE, SIZE) or batch.dtype != np.float32:
        raise InvalidFeatures(f"a batch is float32 (n, 3, {SIZE}, {SIZE}), got {batch.dtype} {batch.shape}")
    return batch
