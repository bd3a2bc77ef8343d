"""Several preview pictures in one, for the cards."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from PIL import Image, ImageOps

from engine.errors import InvalidImage
from engine.records import Thumbnail
from engine.rerank.byte_cache import ByteCache
from engine.samples.decode import bytes_to_image

SIDE = 384
MARK = 96
"""Pixels of a mosaic, and of a mark on the map."""
KEPT = 64 * 2**20
"""Bytes of mosaics that are held."""
MOST_PIXELS = 4_000_000


class Mosaics:
    """Mosaics made so far, those least lately shown forgotten. Threads may share it."""

    def __init__(self, thumbnails: Callable[[int], Sequence[Thumbnail]]) -> None:
        self._thumbnails = thumbnails
        self._made: ByteCache[bytes] = ByteCache(KEPT)

    def get(self, model_id: int, version: str, pictures: int) -> bytes:
        """WebP of up to so many pictures of a model; empty where it has none. ``version`` names what they show."""
        key = (model_id, version, pictures)
        made = self._made.get(key, 0)  # the version is in the key: two of a model may be shown at once
        if made is None:
            made = thumbnails_to_mosaic(self._thumbnails(model_id), pictures)
            self._made.put(key, 0, made, len(made))
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
