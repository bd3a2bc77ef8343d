"""Pillow's own opinions, held back while a picture is decoded: its warnings, and its limit on pixels.

Pillow warns about corrupt EXIF, odd TIFF tags and large pictures. Here such a picture is either decoded or refused
with a reason, so the warnings would only be noise, and errors where warnings are errors. ``warnings.catch_warnings``
saves and restores the whole filter list and so must not be used on worker threads; adding and removing one entry,
counted, is safe whatever other threads do with theirs.

Several of Pillow's readers ask ``Image.MAX_IMAGE_PIXELS`` by themselves, which is one number for the whole process. It
is raised only for a caller whose own limit is above it, and only while such a caller is decoding.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_LOCK = threading.Lock()
_MODULES = r"PIL\."
_depth = 0
_limit: int | None = None


@contextmanager
def quiet_pillow(max_pixels: int = 0) -> Iterator[None]:
    """Ignore warnings raised inside Pillow for the length of the block, on any number of threads at once.

    Args:
        max_pixels: so many pixels are read, even if Pillow's own limit is below that.
    """
    global _depth, _limit
    with _LOCK:
        _depth += 1
        warnings.filterwarnings("ignore", module=_MODULES)  # moves to the front if it is there already
        entry = warnings.filters[0]
        if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
            _limit = _limit or Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        with _LOCK:
            _depth -= 1
            if _depth == 0 and entry in warnings.filters:
                warnings.filters.remove(entry)  # type: ignore[attr-defined]
            if _depth == 0 and _limit is not None:
                Image.MAX_IMAGE_PIXELS, _limit = _limit, None
