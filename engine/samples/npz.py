"""Read a ``.npy`` or ``.npz`` without believing it: shapes are known, and judged, before memory is taken for them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from engine.errors import EngineError, InvalidFeatures, InvalidInput
from engine.samples.bounds import GENEROUS, Bounds
from engine.samples.labels import error_to_reason, name_to_label
from engine.samples.zips import open_zip

HEAD = 2**16
"""Bytes in which a header must end. NumPy's have some hundred; it would read as many as a file claims."""


@dataclass(frozen=True)
class Header:
    """What a ``.npy`` says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool
    """In Fortran's order."""
    size: int
    """Bytes before the values."""

    @property
    def bytes(self) -> int:
        """Of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], label: str) -> Header:
    """The header of a ``.npy``, from its first bytes.

    Raises:
        ValueError: it is broken, too long, or of structured records.
    """
    head = io.BytesIO(stream.read(HEAD))
    version = npy.read_magic(head)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{label} is in .npy format {version}, which holds structured records")
    shape, by_columns, dtype = readers[version](head)
    if any(side < 0 for side in shape):
        raise ValueError(f"{label} claims the shape {shape}")
    return Header(tuple(shape), dtype, by_columns, head.tell())


class ZippedRows:
    """A matrix ``(n, d)`` in a ``.npz`` whose rows are unpacked as they are read, from front to back."""

    ndim = 2

    def __init__(self, path: Path, member: str, header: Header) -> None:
        """Name the member; nothing is opened before rows are asked for."""
        self.shape, self.dtype = header.shape, header.dtype
        self._path, self._member, self._header = path, member, header
        self._zip: zipfile.ZipFile | None = None
        self._stream: IO[bytes] | None = None
        self._row = 0

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """``rows.start`` to ``rows.stop``; going back begins anew.

        Raises:
            InvalidFeatures: the file is broken, or ends before them.
        """
        first, last, _ = rows.indices(self.shape[0])
        try:
            return self._rows(first, last)
        except Exception as exc:  # BadZipFile, zlib.error, EOFError, OSError, MemoryError …
            label = name_to_label(self._path.name)
            raise InvalidFeatures(f"{label} cannot be read: {error_to_reason(exc)}") from exc

    def _rows(self, first: int, last: int) -> NDArray[Any]:
        width = self.shape[1] * self.dtype.itemsize
        if self._stream is None or first < self._row:
            self.close()
            self._zip = zipfile.ZipFile(self._path)
            self._stream = self._zip.open(self._member)
            self._skip(self._header.size)
            self._row = 0
        self._skip((first - self._row) * width)
        data = self._read((last - first) * width)
        self._row = last
        return np.frombuffer(data, self.dtype).reshape(last - first, self.shape[1])

    def close(self) -> None:
        """Close the file; it is opened again if more rows are asked for."""
        for one in (self._stream, self._zip):
            if one is not None:
                one.close()
        self._stream = self._zip = None

    def _skip(self, count: int) -> None:
        while count:
            count -= len(self._read(min(count, 2**20)))

    def _read(self, count: int) -> bytes:
        assert self._stream is not None
        data = self._stream.read(count)
        if len(data) != count:
            raise ValueError(f"the array {self._member!r} is cut short")
        return data


class NpzFile:
    """The arrays in an open ``.npz``.

    Attributes:
        shapes: shape of each array, by name.
        dtypes: dtype of each.
        bounds: how much it may hold.
        error: what a broken file is reported as.
    """

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, max_bytes: int, error: type[EngineError], bounds: Bounds
    ) -> None:
        self.error = error
        self.bounds = bounds
        self._path = path
        self._zip = archive
        self._label = name_to_label(path.name)
        self._max_bytes = min(max_bytes, bounds.unpacked_bytes)
        self._headers: dict[str, Header] = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                with archive.open(info) as stream:
                    self._headers[info.filename[: -len(".npy")]] = read_header(stream, info.filename)
        self.shapes = {name: header.shape for name, header in self._headers.items()}
        self.dtypes = {name: header.dtype for name, header in self._headers.items()}

    def read(self, name: str) -> NDArray[Any]:
        """One array, whole.

        Raises:
            InvalidInput: it has more than the allowed bytes.
            ValueError: it holds Python objects, or the file is shorter than its header says.
        """
        info = self._checked(name)
        with self._zip.open(info) as stream:
            return np.asarray(npy.read_array(stream, allow_pickle=False))

    def rows(self, name: str) -> NDArray[Any] | ZippedRows:
        """A matrix, to be read by blocks of rows; whole if it is kept column by column.

        Raises:
            InvalidInput, ValueError: as ``read``.
        """
        header = self._headers[name]
        if len(header.shape) != 2 or header.by_columns:
            return self.read(name)
        return ZippedRows(self._path, self._checked(name).filename, header)

    def _checked(self, name: str) -> zipfile.ZipInfo:
        header = self._headers[name]
        if header.dtype.hasobject:
            raise ValueError(f"the array {name!r} holds Python objects; save plain numbers")
        if header.bytes > self._max_bytes:
            raise InvalidInput(
                f"the array {name!r} in {self._label} has {header.bytes} bytes, "
                f"more than the {self._max_bytes} allowed",
                hint="save it as .npy, which is memory-mapped, or raise max_archive_bytes (ENGINE_MAX_ARCHIVE_BYTES)",
            )
        info = self._zip.getinfo(f"{name}.npy")
        if info.file_size < header.bytes:
            raise ValueError(f"the array {name!r} is cut short: {info.file_size} bytes for {header.bytes}")
        return info


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is float16, float32 or float64, of either byte order."""
    return dtype.kind == "f" and dtype.itemsize <= 8


@contextmanager
def open_npz(path: Path, *, max_bytes: int, error: type[EngineError], bounds: Bounds = GENEROUS) -> Iterator[NpzFile]:
    """Open a ``.npz``; whatever is wrong with the file, met inside the block, becomes ``NpzFile.error``.

    Raises:
        EngineError: ``error`` for a broken file; those of the block pass unchanged.
    """
    arrays: NpzFile | None = None
    try:
        with open_zip(path, bounds) as archive:
            arrays = NpzFile(path, archive, max_bytes, error, bounds)
            yield arrays
    except EngineError:
        raise
    except Exception as exc:  # BadZipFile, zlib.error, EOFError, ValueError, SyntaxError, MemoryError …
        wanted = arrays.error if arrays is not None else error
        label = name_to_label(path.name)
        raise wanted(f"{label} cannot be read: {name_to_label(str(exc)) or type(exc).__name__}") from exc
