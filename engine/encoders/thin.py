"""Resizing strips: pictures so long and thin that Pillow would take many times their own memory.

Pillow resizes across first and keeps that whole: of 1 × n pixels, as many times the picture as the result is wide.
Here the long side is made short first, by Pillow from the part of the picture that one line of the result needs, so
that what is held beside the picture is a small part of it. The short side, and white beside it, are weighted as
Pillow's antialiased bicubic weights them (``Resample.c``). Results agree with Pillow's to the rounding of float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FACTOR = 4
SMALL = 2**24
"""An ordinary resize may hold so many times the picture's pixels, and this many whatever the picture."""
LONGEST = 2**24
"""Pillow takes the side of what it resizes as a float32, which is exact up to here."""


def is_thin(image: Image.Image, pixels: int) -> bool:
    """Whether resizing a picture must go this way, where the ordinary one would hold so many pixels."""
    return pixels > FACTOR * image.width * image.height + SMALL or max(image.size) > LONGEST


def resize_thin(
    image: Image.Image, size: tuple[int, int], *, window: tuple[int, int, int, int] | None = None, square: bool = False
) -> Float32:
    """An RGB picture to ``(3, height, width)`` float32 levels, about 0 to 255 (bicubic overshoots).

    Args:
        size: (width, height) of the whole result.
        window: (left, top, right, bottom), the part of the result that is wanted; default: all of it.
        square: pad the picture with white to a square first, in its middle.
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    left, top, right, bottom = window or (0, 0, *size)
    wide = image.width >= image.height
    long, short = (image.width, image.height) if wide else (image.height, image.width)
    lines_of, parts_of = size if wide else size[::-1]
    lines, parts = (range(left, right), range(top, bottom)) if wide else (range(top, bottom), range(left, right))

    across = np.empty((len(lines), short, 3), np.float32)
    scale = long / lines_of
    for place, line in enumerate(lines):
        first, last = _span(long, lines_of, line)
        first, last = max(first - 1, 0), min(last + 1, long)  # Pillow rounds the box to float32
        if wide:
            piece = image.crop((first, 0, last, short))
        else:
            piece = image.crop((0, first, short, last)).transpose(Image.Transpose.TRANSPOSE)
        box = (line * scale - first, 0, min((line + 1) * scale - first, last - first), short)
        for number, channel in enumerate(piece.split()):
            resized = channel.convert("F").resize((1, short), Image.Resampling.BICUBIC, box)
            across[place, :, number] = np.asarray(resized)[:, 0]

    frame = long if square else short
    offset = (frame - short) // 2
    result = np.full((3, len(parts), len(lines)), 255, np.float32)
    for place, part in enumerate(parts):
        first, last = _span(frame, parts_of, part)
        begin, end = max(first, offset), min(last, offset + short)
        if begin < end:  # else it is of the padding alone
            inside = bicubic_weights(frame, parts_of, part)[1][begin - first : end - first]
            seen = across[:, begin - offset : end - offset]
            result[:, place] = np.einsum("lsc,s->cl", seen, inside) + 255 * (1 - inside.sum())
    return result if wide else result.transpose(0, 2, 1)


def bicubic_weights(length: int, count: int, index: int) -> tuple[int, Float64]:
    """What pixel ``index`` of ``count`` is made of, of ``length``: the first pixel, and the weights from it on.

    w(x) is Keys' cubic with a = −½, stretched by length / count where that is above 1, and scaled to the sum 1.
    """
    first, last = _span(length, count, index)
    stretch = max(length / count, 1.0)
    x = np.abs((np.arange(first, last) - (index + 0.5) * (length / count) + 0.5) / stretch)
    weights = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((2.5 - 0.5 * x) * x - 4) * x + 2, 0))
    return first, weights / weights.sum()


def _span(length: int, count: int, index: int) -> tuple[int, int]:
    scale = length / count
    centre, reach = (index + 0.5) * scale, 2 * max(scale, 1.0)
    return max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), length)
