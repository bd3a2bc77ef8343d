"""The other files in which an ONNX model keeps weights, as the model itself lists them.

ONNX Runtime opens these files and does not tell. They are found by walking the model's protobuf: from each message
only the fields that can hold a tensor are entered, everything else is skipped by its length.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import GeneratorError, InvalidImage, SourceNotFound
from engine.samples.decode import open_regular
from engine.samples.labels import name_to_label

FIELDS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}  # fmt: skip
"""Field numbers (onnx.proto, IR version 13) that lead to tensors."""
TENSOR = "TensorProto"
EXTERNAL_DATA, DATA_LOCATION, EXTERNAL = 13, 14, 1
KEY, VALUE = 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""


def external_weights(path: Path) -> list[Path]:
    """The files that a model reads besides its own, sorted; none if it is no ONNX model, which loading it says.

    Raises:
        SourceNotFound: one of them is not there.
        GeneratorError: one is outside the model's folder or not a regular file, or the model cannot be read.
    """
    found = []
    for location in sorted(_file_to_locations(path)):
        says = f"{name_to_label(path.name)} keeps weights in {name_to_label(location)!r}"
        # As text, not on disk: where a link inside the folder leads is for ONNX Runtime to judge.
        if not location or os.path.isabs(location) or os.path.normpath(location).split(os.sep)[0] == os.pardir:
            raise GeneratorError(
                f"{says}, outside its folder", hint="save the model with its weights beside it, or in one file"
            )
        weights = os.path.join(path.parent, location)
        if not os.path.exists(weights):
            raise SourceNotFound(f"{says}, and there is no such file", hint="copy it into the model's folder")
        if not os.path.isfile(weights):
            raise GeneratorError(f"{says}, which is not a regular file")
        found.append(Path(weights))
    return found


def _file_to_locations(path: Path) -> set[str]:
    locations: set[str] = set()
    try:
        with (
            open_regular(path, label=name_to_label(str(path))) as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            waiting = [("ModelProto", 0, len(data))]
            while waiting:
                message, start, end = waiting.pop()
                if message == TENSOR:
                    locations.update(_tensor_to_location(data, start, end))
                    continue
                for number, _, first, last in _fields(data, start, end):
                    if number in FIELDS[message] and last > first:
                        waiting.append((FIELDS[message][number], first, last))
    except InvalidImage as exc:
        raise GeneratorError(exc.message) from exc
    except OSError as exc:
        raise GeneratorError(f"{name_to_label(path.name)} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, IndexError):  # empty, or no protobuf
        pass
    return locations


def _tensor_to_location(data: mmap.mmap, start: int, end: int) -> list[str]:
    """Where a tensor's values are, if not in the model."""
    outside, location = False, []
    for number, value, first, last in _fields(data, start, end):
        if number == DATA_LOCATION:
            outside = value == EXTERNAL
        elif number == EXTERNAL_DATA:
            entry = {key: data[begin:stop] for key, _, begin, stop in _fields(data, first, last)}
            if entry.get(KEY) == b"location":
                location = [os.fsdecode(entry.get(VALUE, b""))]
    return location if outside else []


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, value of a varint, and first and last byte of each field of a message.

    Raises:
        ValueError: it is no protobuf.
        IndexError: it ends within a number.
    """
    place = start
    while place < end:
        tag, place = _varint(data, place)
        value, first = 0, place
        if tag & 7 == VARINT:
            value, place = _varint(data, place)
        elif tag & 7 == BYTES:
            length, first = _varint(data, place)
            place = first + length
        elif tag & 7 in (FIXED32, FIXED64):
            place += 4 if tag & 7 == FIXED32 else 8
        else:
            raise ValueError("groups are not in ONNX")
        if place > end:
            raise ValueError("a field ends behind its message")
        yield tag >> 3, value, first, place


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than 64 bits")
