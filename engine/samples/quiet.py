"""Keep Pillow's warnings to itself while a picture is decoded.

Pillow warns about corrupt EXIF, odd TIFF tags and large pictures. Here such a picture is either decoded or refused
with a reason, so the warnings would only be noise, and errors where warnings are errors. ``warnings.catch_warnings``
saves and restores the whole filter list and so must not be used on worker threads; adding and removing one entry,
counted, is safe whatever other threads do with theirs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_MODULES = r"PIL\."
_depth = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore warnings raised inside Pillow for the length of the block, on any number of threads at once."""
    global _depth
    with _LOCK:
        _depth += 1
        warnings.filterwarnings("ignore", module=_MODULES)  # moves to the front if it is there already
        entry = warnings.filters[0]
    try:
        yield
    finally:
        with _LOCK:
            _depth -= 1
            if _depth == 0 and entry in warnings.filters:
                warnings.filters.remove(entry)  # type: ignore[attr-defined]
