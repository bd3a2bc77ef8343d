"""Resizing as clean-fid does it: per channel, in float, antialiased bicubic, never rounded back to 8 bits.

Source: Parmar, Zhang & Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation" (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.bands import channels_to_levels
from engine.encoders.thin import is_thin, resize_thin

Float32 = NDArray[np.float32]


def resize_float(image: Image.Image, size: tuple[int, int]) -> Float32:
    """An RGB picture to ``(3, height, width)`` float32 in [0, 1]; ``size`` is (width, height)."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    # What Pillow holds: the picture after its first pass, and about four float64 weights for each pixel of a side.
    if is_thin(image, size[0] * image.height + 8 * max(image.size)):
        return _levels_to_unit(resize_thin(image, size))
    return _levels_to_unit(channels_to_levels(image, size))


def resize_and_crop(image: Image.Image, size: int) -> Float32:
    """Shorter side to ``size``, then the middle square: ``(3, size, size)`` float32 in [0, 1]."""
    width, height = image.size
    scale = size / min(width, height)
    wide = (max(size, round(width * scale)), max(size, round(height * scale)))
    left, top = (wide[0] - size) // 2, (wide[1] - size) // 2
    if is_thin(image, 12 * wide[0] * wide[1]):  # three channels, and three copies on their way to the unit range
        return _levels_to_unit(resize_thin(image, wide, window=(left, top, left + size, top + size)))
    return resize_float(image, wide)[:, top : top + size, left : left + size]


def _levels_to_unit(levels: Float32) -> Float32:
    return np.asarray(np.clip(levels / np.float32(255), 0, 1), np.float32)


def normalise(array: Float32, mean: Sequence[float], deviation: Sequence[float]) -> Float32:
    """Channel-wise (x − mean) / deviation of ``(3, h, w)``."""
    shift = np.asarray(mean, np.float32)[:, None, None]
    scale = np.asarray(deviation, np.float32)[:, None, None]
    return np.ascontiguousarray((array - shift) / scale, np.float32)
