"""Read a ``.npz`` without believing it: shapes are known, and judged, before memory is taken for them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from engine.errors import EngineError, InvalidInput
from engine.samples.labels import name_to_label


class NpzFile:
    """The arrays in an open ``.npz``.

    Attributes:
        shapes: shape of each array, by name.
        dtypes: dtype of each.
        error: what a broken file is reported as.
    """

    def __init__(self, archive: zipfile.ZipFile, label: str, max_bytes: int, error: type[EngineError]) -> None:
        self.error = error
        self._zip = archive
        self._label = label
        self._max_bytes = max_bytes
        self.dtypes: dict[str, np.dtype[Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                name = info.filename[: -len(".npy")]
                self.shapes[name], self.dtypes[name] = self._header(info)

    def read(self, name: str) -> NDArray[Any]:
        """One array, whole.

        Raises:
            InvalidInput: it has more than the allowed bytes.
            ValueError: it holds Python objects, or the file is shorter than its header says.
        """
        dtype = self.dtypes[name]
        if dtype.hasobject:
            raise ValueError(f"the array {name!r} holds Python objects; save plain numbers")
        size = math.prod(self.shapes[name]) * dtype.itemsize
        if size > self._max_bytes:
            raise InvalidInput(
                f"the array {name!r} in {self._label} has {size} bytes, more than the {self._max_bytes} allowed",
                hint="save it as .npy, which is memory-mapped, or raise max_archive_bytes (ENGINE_MAX_ARCHIVE_BYTES)",
            )
        info = self._zip.getinfo(f"{name}.npy")
        if info.file_size < size:
            raise ValueError(f"the array {name!r} is cut short: {info.file_size} bytes for {size}")
        with self._zip.open(info) as stream:
            return np.asarray(npy.read_array(stream, allow_pickle=False))

    def _header(self, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
        with self._zip.open(info) as stream:
            version = npy.read_magic(stream)
            readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"{info.filename} is in .npy format {version}, which holds structured records")
            shape, _, dtype = readers[version](stream)
        if any(side < 0 for side in shape):
            raise ValueError(f"{info.filename} claims the shape {shape}")
        return tuple(shape), dtype


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is float16, float32 or float64, of either byte order."""
    return dtype.kind == "f" and dtype.itemsize <= 8


@contextmanager
def open_npz(path: Path, *, max_bytes: int, error: type[EngineError]) -> Iterator[NpzFile]:
    """Open a ``.npz``; whatever is wrong with the file, met inside the block, becomes ``NpzFile.error``.

    Raises:
        EngineError: ``error`` for a broken file; those of the block pass unchanged.
    """
    label = name_to_label(path.name)
    arrays: NpzFile | None = None
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = NpzFile(archive, label, max_bytes, error)
            yield arrays
    except EngineError:
        raise
    except Exception as exc:  # BadZipFile, zlib.error, EOFError, ValueError, SyntaxError, MemoryError …
        wanted = arrays.error if arrays is not None else error
        raise wanted(f"{label} cannot be read: {name_to_label(str(exc)) or type(exc).__name__}") from exc
