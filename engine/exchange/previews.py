"""Previews from elsewhere: what an archive calls a picture is decoded before it is taken.

What has the engine's own form, a WebP of one chunk that fills the file, is kept bit by bit, so that a round trip is
exact. Any other picture is encoded anew, which drops whatever lay in it or behind it; what is no picture is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from engine.errors import InvalidImage
from engine.ingest.stream import image_to_thumbnail
from engine.records import Thumbnail
from engine.samples.decode import bytes_to_image
from engine.storage.archive_rows import ModelRecord

MOST = 256
"""Previews of one model."""
MOST_BYTES = 8 * 2**20
MOST_PIXELS = 4_000_000
"""Of one preview."""
SIDE = 512
"""Pixels of the longer side of one that is encoded anew."""
NAMED = 20
"""Models whose previews were dropped that are named."""


class Checked:
    """Records with previews that can be handed on; ``remarks`` say, once all were read, what was dropped."""

    def __init__(self, models: Iterable[ModelRecord]) -> None:
        self._models = models
        self._dropped: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[ModelRecord]:
        for model in self._models:
            kept = tuple(self._kept(model)) if model.thumbnails else ()
            yield replace(model, thumbnails=kept)

    @property
    def remarks(self) -> list[str]:
        """A sentence for each model that lost previews, of the first ``NAMED``."""
        said = [
            f"{name}: {len(reasons)} preview{'s were' if len(reasons) > 1 else ' was'} dropped: {reasons[0]}"
            for name, reasons in list(self._dropped.items())[:NAMED]
        ]
        more = len(self._dropped) - len(said)
        return [*said, f"{more} more models lost previews"] if more else said

    def _kept(self, model: ModelRecord) -> Iterator[Thumbnail]:
        for number, one in enumerate(model.thumbnails):
            try:
                if number >= MOST:
                    raise InvalidImage(f"a model has at most {MOST}")
                yield checked_preview(one.data)
            except InvalidImage as error:
                self._dropped.setdefault(model.name, []).append(error.message)


def checked_preview(data: bytes) -> Thumbnail:
    """A preview that can be handed on: the same bytes, or the same picture encoded anew.

    Raises:
        InvalidImage: it is no picture, or is too large.
    """
    if len(data) > MOST_BYTES:
        raise InvalidImage(f"it has {len(data)} bytes, more than {MOST_BYTES}")
    image = bytes_to_image(data, label="a preview", max_pixels=MOST_PIXELS)
    return Thumbnail(data, "image/webp") if is_plain(data) else image_to_thumbnail(image, SIDE)


def is_plain(data: bytes) -> bool:
    """Whether a file is a WebP of one chunk of pixels, and nothing else."""
    if data[:4] != b"RIFF" or data[8:16] not in (b"WEBPVP8 ", b"WEBPVP8L"):
        return False
    whole, chunk = (int.from_bytes(data[at : at + 4], "little") for at in (4, 16))
    return len(data) == whole + 8 == chunk + chunk % 2 + 20
