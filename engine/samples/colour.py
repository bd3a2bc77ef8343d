"""Any pixel layout to 8-bit RGB: transparency onto white, 16 bit to 8 by scaling, EXIF rotation applied.

A large picture is converted tile by tile, so that beside it and its result only a tile is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.errors import InvalidImage

ORIENTATION = 0x0112  # EXIF 2.32, table 4
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
}  # fmt: skip
"""Turns that exchange width and height."""
TILE = 2**20
"""Pixels that are converted at a time."""
SLACK = 1e-3
"""How far outside [0, 1] a floating picture may stray by rounding before it is refused."""


def image_to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode to a new RGB image without metadata.

    Raises:
        InvalidImage: 32-bit integers or floats that are not in a known range.
        ValueError: Pillow has no conversion from this mode.
    """
    turn = TRANSPOSE.get(_orientation(image))
    is_plain = turn is None and not _is_wide(image) and not image.has_transparency_data
    if is_plain or image.width * image.height <= TILE:
        return _turned(_tile_to_rgb(image), turn)
    rgb = Image.new("RGB", image.size[::-1] if turn in SIDEWAYS else image.size)
    for box in _tiles(image.size):
        place = _turned_corner(box, image.size, turn)
        rgb.paste(_turned(_tile_to_rgb(image.crop(box)), turn), place)
    return rgb


def array_to_image(array: NDArray[Any], *, label: str = "array") -> Image.Image:
    """``(h, w)`` or ``(h, w, 1 | 3 | 4)``, uint8 or floating in [0, 1], to an RGB image; alpha goes onto white.

    Raises:
        InvalidImage: another shape or dtype, a NaN, or values outside the range.
    """
    shaped = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if not (shaped.ndim == 2 or (shaped.ndim == 3 and shaped.shape[2] in (3, 4))) or shaped.size == 0:
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise InvalidImage(
            f"{label} must have shape (h, w) or (h, w, 1 | 3 | 4), got {array.shape}",
            hint="move the channels last: array.transpose(1, 2, 0)" if channels_first else None,
        )
    if shaped.dtype.kind == "f":
        shaped = unit_to_bytes(shaped, label=label)
    elif shaped.dtype != np.uint8:
        raise InvalidImage(f"{label} must be uint8, or floating in [0, 1], got {array.dtype}")
    return image_to_rgb(Image.fromarray(np.ascontiguousarray(shaped)))


def unit_to_bytes(array: NDArray[Any], *, label: str) -> NDArray[np.uint8]:
    """Floats in [0, 1] to uint8, rounded to nearest.

    Raises:
        InvalidImage: a NaN, an infinity, or a value outside [0, 1].
    """
    low, high = float(array.min()), float(array.max())  # a NaN anywhere makes both NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InvalidImage(f"{label} has a NaN or an infinity")
    if low < -SLACK or high > 1 + SLACK:
        raise InvalidImage(
            f"{label} is floating and must lie in [0, 1], got values from {low:.4g} to {high:.4g}",
            hint="divide by 255, or map [-1, 1] to [0, 1] first",
        )
    return np.rint(np.clip(array.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def _tile_to_rgb(image: Image.Image) -> Image.Image:
    if _is_wide(image):
        rgb = _wide_to_rgb(image)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, (255, 255, 255))
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image.convert("RGB")  # a copy even where it is RGB already
    rgb.info.clear()  # an orientation left there would be applied again by the next reader
    return rgb


def _tiles(size: tuple[int, int]) -> Iterator[Box]:
    """Boxes of at most ``TILE`` pixels that cover a picture."""
    width, height = size
    across = min(width, TILE)
    down = max(TILE // across, 1)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _turned_corner(box: Box, size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    """Where the upper left corner of a tile lies once the whole picture is turned."""
    left, top, right, bottom = box
    from_right, from_bottom = size[0] - right, size[1] - bottom
    corners = {
        Image.Transpose.FLIP_LEFT_RIGHT: (from_right, top),
        Image.Transpose.ROTATE_180: (from_right, from_bottom),
        Image.Transpose.FLIP_TOP_BOTTOM: (left, from_bottom),
        Image.Transpose.TRANSPOSE: (top, left),
        Image.Transpose.ROTATE_270: (from_bottom, left),
        Image.Transpose.TRANSVERSE: (from_bottom, from_right),
        Image.Transpose.ROTATE_90: (top, from_right),
    }
    return (left, top) if turn is None else corners[turn]


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _wide_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit and floating greyscale. 65535 / 255 = 257 exactly, so v becomes round(v / 257)."""
    pixels = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(unit_to_bytes(pixels, label="a floating picture")).convert("RGB")
    if pixels.min() < 0 or pixels.max() > 65535:
        raise InvalidImage(f"32-bit integers from {pixels.min()} to {pixels.max()} have no known white")
    wide = pixels.astype(np.uint32)
    wide += 128
    wide //= 257
    grey = wide.astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[pixels == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata does not make the pixels unusable
        return 1
