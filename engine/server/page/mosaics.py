"""Several preview pictures in one, for the cards."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from PIL import Image, ImageOps

from engine.errors import InvalidImage
from engine.records import Thumbnail
from engine.samples.decode import bytes_to_image

SIDE = 384
MARK = 96
"""Pixels of a mosaic, and of a mark on the map."""
KEPT = 2000
MOST_PIXELS = 4_000_000


class Mosaics:
    """Mosaics made so far, those least lately shown forgotten. Threads may share it."""

    def __init__(self, thumbnails: Callable[[int], Sequence[Thumbnail]]) -> None:
        self._thumbnails = thumbnails
        self._made: OrderedDict[tuple[int, str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model_id: int, version: str, pictures: int) -> bytes:
        """WebP of up to so many pictures of a model; empty where it has none. ``version`` names what they show."""
        key = (model_id, version, pictures)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = thumbnails_to_mosaic(self._thumbnails(model_id), pictures)
        with self._lock:
            self._made[key] = made
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return made


def thumbnails_to_mosaic(thumbnails: Sequence[Thumbnail], pictures: int) -> bytes:
    """A square of 1, 4 or 9 pictures, as many as there are; damaged ones are left out, and nothing is left of none."""
    images = []
    for thumbnail in thumbnails[:pictures]:
        try:
            images.append(bytes_to_image(thumbnail.data, label="a preview", max_pixels=MOST_PIXELS))
        except InvalidImage:
            continue
    if not images:
        return b""
    across = max(n for n in (1, 2, 3) if n * n <= len(images))
    side = MARK if pictures == 1 else SIDE
    mosaic = Image.new("RGB", (side, side), "white")
    for place, image in enumerate(images[: across * across]):
        row, column = divmod(place, across)
        left, top = column * side // across, row * side // across
        size = ((column + 1) * side // across - left, (row + 1) * side // across - top)
        mosaic.paste(_filling(image, size), (left, top))
    stream = io.BytesIO()
    mosaic.save(stream, "WEBP", quality=82)
    return stream.getvalue()


def _filling(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture, in that size."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
