"""What a Python callable or a decoder drew, to RGB pictures."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import GeneratorError, InvalidImage
from engine.samples.decode import MAX_PIXELS, any_to_image


def drawn_to_images(drawn: Any, count: int, *, who: str, max_pixels: int = MAX_PIXELS) -> list[Image.Image]:
    """PIL images, ``(h, w, c)`` arrays, or one ``(n, h, w, c)`` array to exactly ``count`` RGB images.

    Raises:
        GeneratorError: another number of pictures, or something that is not a picture.
    """
    if isinstance(drawn, (str, bytes, dict)) or not isinstance(drawn, (np.ndarray, Iterable)):
        raise GeneratorError(
            f"{who} drew {type(drawn).__name__}, not pictures",
            hint="return a list of PIL images, or an array (n, h, w, 3), uint8 or floating in [0, 1]",
        )
    items = list(islice(drawn, count + 1))
    if len(items) != count:
        found = f"more than {count}" if len(items) > count else str(len(items))
        raise GeneratorError(f"{who} drew {found} pictures where {count} were asked for")
    images = []
    for number, item in enumerate(items):
        if not isinstance(item, (Image.Image, np.ndarray)):
            raise GeneratorError(f"{who} drew {type(item).__name__} as picture {number}, not an image or an array")
        try:
            images.append(any_to_image(item, max_pixels=max_pixels))
        except InvalidImage as exc:
            raise GeneratorError(f"{who}, picture {number}: {exc.message}", hint=exc.hint) from exc
    return images
