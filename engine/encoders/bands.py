"""Resizing large pictures band by band, without a float copy of the picture.

Pillow resizes in two passes, across and then down, with float32 numbers in between in mode ``F``. Across, every line
stands for itself, so bands of lines can take that pass one after another; what it leaves is small. The result is
Pillow's to the last bit, except for some pictures that are taller than wide: Pillow from 13 on resizes these down
first, which agrees to the rounding of float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC
WHITE = 255.0
BAND = 2**20
"""Pixels of a band."""
LARGE = 4 * BAND
"""A picture of more pixels is resized in bands; of fewer, a float copy of a channel costs nothing that matters."""


def channels_to_levels(image: Image.Image, size: tuple[int, int], *, square: bool = False) -> NDArray[np.float32]:
    """An RGB picture to ``(3, height, width)`` float32 levels, by antialiased bicubic, unclipped.

    Args:
        size: (width, height) of the result.
        square: pad the picture with white to a square first, in its middle.
    """
    return np.stack([np.asarray(_resized(image.getchannel(i), size, square), np.float32) for i in range(3)])


def _resized(channel: Image.Image, size: tuple[int, int], square: bool) -> Image.Image:
    width, height = channel.size
    frame = (max(channel.size),) * 2 if square else channel.size
    left, top = (frame[0] - width) // 2, (frame[1] - height) // 2
    if frame[0] * frame[1] <= LARGE:
        return _padded(channel, frame, left, top).resize(size, BICUBIC)
    across = Image.new("F", (size[0], frame[1]))
    lines = max(BAND // frame[0], 1)
    for first in range(0, frame[1], lines):
        last = min(first + lines, frame[1])
        begin, end = max(first - top, 0), min(last - top, height)
        band = channel.crop((0, begin, width, max(begin, end)))
        padded = _padded(band, (frame[0], last - first), left, begin + top - first)
        across.paste(padded.resize((size[0], last - first), BICUBIC), (0, first))
    return across.resize(size, BICUBIC)


def _padded(channel: Image.Image, frame: tuple[int, int], left: int, top: int) -> Image.Image:
    levels = channel.convert("F")
    if levels.size == frame:
        return levels
    padded = Image.new("F", frame, WHITE)
    if 0 not in levels.size:
        padded.paste(levels, (left, top))
    return padded
