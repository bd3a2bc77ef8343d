"""Resizing as clean-fid does it: per channel, in float, antialiased bicubic, never rounded back to 8 bits.

Source: Parmar, Zhang & Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation" (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float32 = NDArray[np.float32]


def resize_float(image: Image.Image, size: tuple[int, int]) -> Float32:
    """An RGB picture to ``(3, height, width)`` float32 in [0, 1]; ``size`` is (width, height)."""
    channels = [
        np.asarray(channel.convert("F").resize(size, Image.Resampling.BICUBIC), np.float32)
        for channel in image.convert("RGB").split()
    ]
    return np.asarray(np.clip(np.stack(channels) / np.float32(255), 0, 1), np.float32)


def resize_and_crop(image: Image.Image, size: int) -> Float32:
    """Shorter side to ``size``, then the middle square: ``(3, size, size)`` float32 in [0, 1]."""
    width, height = image.size
    scale = size / min(width, height)
    wide = (max(size, round(width * scale)), max(size, round(height * scale)))
    array = resize_float(image, wide)
    left, top = (wide[0] - size) // 2, (wide[1] - size) // 2
    return array[:, top : top + size, left : left + size]


def normalise(array: Float32, mean: Sequence[float], deviation: Sequence[float]) -> Float32:
    """Channel-wise (x − mean) / deviation of ``(3, h, w)``."""
    shift = np.asarray(mean, np.float32)[:, None, None]
    scale = np.asarray(deviation, np.float32)[:, None, None]
    return np.ascontiguousarray((array - shift) / scale, np.float32)
