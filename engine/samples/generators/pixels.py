"""A decoder's raw output to pictures: layout, range, and what cannot be pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.errors import GeneratorError, InvalidManifest

Range = tuple[float, float]
"""(lo, hi): the values of black and of white."""
NEGATIVE = -0.05
"""An output that goes below this is in [−1, 1]: a decoder into [0, 1] overshoots by less."""
TOO_BRIGHT = 2.0
"""An output that goes above this is in neither [0, 1] nor [−1, 1]."""


def checked_range(value: Any) -> Range | None:
    """The option ``range``: None for ``auto``, else (lo, hi).

    Raises:
        InvalidManifest: it is anything else.
    """
    if value is None or value == "auto":
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = value
        numbers = all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in value)
        if numbers and math.isfinite(low) and math.isfinite(high) and low < high:
            return float(low), float(high)
    raise InvalidManifest(f"the option 'range' must be 'auto' or [lo, hi], got {value!r:.80}")


def pixels_to_range(pixels: NDArray[Any]) -> Range:
    """Judge the range of an output by its dtype and its extremes.

    Raises:
        GeneratorError: it fits no known range.
    """
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(pixels.min()), float(pixels.max())
    if high > TOO_BRIGHT or low < -TOO_BRIGHT:
        raise GeneratorError(
            f"the output goes from {low:.4g} to {high:.4g}, in neither [0, 1] nor [-1, 1]",
            hint="give the option range: [lo, hi]",
        )
    return (-1.0, 1.0) if low < NEGATIVE else (0.0, 1.0)


def output_to_images(pixels: NDArray[Any], limits: Range, *, who: str) -> list[Image.Image]:
    """``(n, c, h, w)`` or ``(n, h, w, c)``, c = 1 or 3, to RGB images; ``limits`` become black and white.

    Raises:
        GeneratorError: another layout or dtype, a NaN or an infinity.
    """
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        raise GeneratorError(f"{who} gave {pixels.dtype}, not uint8 or floating pixels")
    if pixels.shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    elif pixels.shape[3] not in (1, 3):
        raise GeneratorError(f"{who} gave shape {pixels.shape}: no axis of 1 or 3 channels")
    return [_to_image(picture, limits, who) for picture in pixels]


def _to_image(pixels: NDArray[Any], limits: Range, who: str) -> Image.Image:
    """``(h, w, c)``; one picture at a time, since what is made on the way takes several times its memory."""
    if not np.isfinite(pixels).all():
        raise GeneratorError(f"{who} gave a NaN or an infinity")
    low, high = limits
    if pixels.dtype != np.uint8 or limits != (0.0, 255.0):
        unit = (pixels.astype(np.float32) - low) / (high - low)
        pixels = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(pixels))
