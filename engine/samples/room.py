"""Memory for pixels: what all threads of the process decode and prepare at once is bounded.

A picture waits, in the order of arrival, until there is room for it; one that is larger than the room gets in alone.
Small pictures have a room of their own, so that a row of large ones does not hold them up. A thread never waits while
it holds room, so threads cannot block one another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from PIL.Image import core  # type: ignore[attr-defined]

LARGE_ROOM = 768 * 2**20
SMALL_ROOM = 256 * 2**20
"""Bytes that large and small pictures may take together while they are decoded and prepared."""
SMALL = 32 * 2**20
"""Bytes of a picture that counts as small: four megapixels of most formats."""

BLOCK = 64 * 2**20
"""Pillow takes memory in blocks. Of more than 32 MiB, glibc gives each back to the system as soon as it is freed."""


class Room:
    """A number of bytes that is lent out, first come, first served."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, wanted: int) -> int:
        """Wait for so many bytes, or for all of them where there are not so many; give back what this returns."""
        wanted = min(wanted, self._size)
        me = object()
        with self._changed:
            self._line.append(me)
            try:
                self._changed.wait_for(lambda: self._line[0] is me and self._free >= wanted)
                self._free -= wanted
            finally:
                self._line.remove(me)
                self._changed.notify_all()
        return wanted

    def give_back(self, taken: int) -> None:
        """Return what was taken."""
        with self._changed:
            self._free += taken
            self._changed.notify_all()


class _Holder(threading.local):
    """What this thread holds, and whether it keeps that until its block ends."""

    keeps = False
    taken: tuple[Room, int] | None = None


_LARGE, _SMALL = Room(LARGE_ROOM), Room(SMALL_ROOM)
_holder = _Holder()


@contextmanager
def one_picture() -> Iterator[None]:
    """A block in which one picture is decoded and used; its room is kept until the block ends.

    A second picture that is decoded in the block takes the place of the first. Outside such a block a picture's room
    is given back as soon as it is decoded.
    """
    if _holder.keeps:
        yield
        return
    _holder.keeps = True
    try:
        yield
    finally:
        _holder.keeps = False
        _leave()


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Room for ``size`` bytes of pixels while the block decodes them."""
    _leave()
    if size > SMALL and core.get_block_size() < BLOCK:
        core.set_block_size(BLOCK)
    room = _SMALL if size <= SMALL else _LARGE
    _holder.taken = (room, room.take(size))
    try:
        yield
    finally:
        if not _holder.keeps:
            _leave()


def _leave() -> None:
    taken, _holder.taken = _holder.taken, None
    if taken is not None:
        taken[0].give_back(taken[1])
