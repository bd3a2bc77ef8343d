"""Large arrays that are mapped from a file and verified as they are read: opening them costs nothing."""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DamagedIndex

BLOCK = 64
"""Rows that share a checksum."""


def checksums(array: NDArray[Any]) -> NDArray[np.uint32]:
    """The CRC-32 of each ``BLOCK`` rows of ``(n, …)``."""
    return np.array(
        [
            zlib.crc32(np.ascontiguousarray(array[at : at + BLOCK]).view(np.uint8).data)
            for at in range(0, len(array), BLOCK)
        ],
        np.uint32,
    )


def map_array(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array as it was saved, mapped. Nothing that is done to it reaches the file.

    Raises:
        OSError, ValueError: it is not one, of another dtype, or shorter or longer than it says.
    """
    array = np.load(path, mmap_mode="c", allow_pickle=False)
    if not isinstance(array, np.memmap):
        raise ValueError(f"{path.name} is no array")
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"{path.name} has dtype {array.dtype}, not {dtype}, or another order")
    if path.stat().st_size != array.offset + array.nbytes:  # what is verified behind is read from the file's end
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {array.offset + array.nbytes}")
    return np.asarray(array)


class Checked:
    """Which blocks of a mapped array ``(n, …)`` have been found to be as they were written. Threads may share it."""

    def __init__(self, array: NDArray[Any], sums: NDArray[np.uint32], path: Path) -> None:
        """``path`` is the file that is mapped. Raises: ValueError: there is not one checksum a block."""
        if sums.shape != (-(-len(array) // BLOCK),):
            raise ValueError(f"{path.name} of {len(array)} rows does not go with {len(sums)} checksums")
        self._array = array
        self._sums = sums
        self._path = path
        self.good = np.zeros(len(sums), np.bool_)
        self.done = not len(sums)

    def ensure(self, rows: NDArray[np.int64]) -> None:
        """Verify what these rows are in.

        Raises:
            DamagedIndex: a block is damaged.
        """
        if self.done:
            return
        blocks = np.unique(rows // BLOCK)
        for block in blocks[~self.good[blocks]].tolist():
            self._verify(block)
        self.done = bool(self.good.all())

    def ensure_all(self) -> None:
        """Verify everything. Raises: DamagedIndex."""
        self.ensure(np.arange(0, len(self._array), BLOCK))

    def ensure_behind(self) -> None:
        """Verify everything in a thread of its own; what is damaged is found again by whoever reads it.

        The file is read, not its mapping: what nobody has asked for does not become resident.
        """

        def work() -> None:
            size = BLOCK * self._array.itemsize * int(np.prod(self._array.shape[1:]))
            with contextlib.suppress(OSError), self._path.open("rb") as stream:
                stream.seek(-self._array.nbytes, os.SEEK_END)
                for block, expected in enumerate(self._sums.tolist()):
                    if zlib.crc32(stream.read(size)) == expected:
                        self.good[block] = True
                self.done = bool(self.good.all())

        threading.Thread(target=work, name="verify index", daemon=True).start()

    def _verify(self, block: int) -> None:
        if zlib.crc32(self._array[block * BLOCK : (block + 1) * BLOCK].view(np.uint8).data) != self._sums[block]:
            raise DamagedIndex(
                f"the index file {self._path} is damaged at row {block * BLOCK}", hint="run: engine index build"
            )
        self.good[block] = True
