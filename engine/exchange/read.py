"""An archive to records: everything is verified before the first is handed on, and again as it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from engine.errors import CorruptData, EngineError, InvalidArchive, InvalidInput
from engine.exchange.archive_file import ENCODERS, TRANSFORMS, ArchiveFile, block_member
from engine.numbers import checked_whole
from engine.records import EncoderIdentity, Thumbnail
from engine.storage import blobs
from engine.storage.archive_rows import ModelRecord, StatisticsRecord, TransformRecord
from engine.storage.details import DETAILS, checked_details, checked_json, checked_name
from engine.storage.transforms import AXES
from engine.texts import is_storable

Arrays = Mapping[str, NDArray[Any]]
OnProgress = Callable[[int, int], None]
MODEL_KEYS = {"name", *DETAILS, "source", "generator", "created_at", "updated_at", "statistics", "thumbnails"}
STATISTICS_KEYS = {
    "encoder", "samples", "epsilon", "covariance", "sample_features", "source_digest", "quarantined", "quarantine",
    "updated_at",
}  # fmt: skip
ENCODER_KEYS = {"name", "fingerprint", "dimension", "logit_scale", "modalities", "created_at"}
TRANSFORM_KEYS = {
    "name", "encoder", "method", "modality", "parameterisation", "version", "active", "report", "created_at",
}  # fmt: skip


class ArchiveReader:
    """The records of an archive that is open, a block of models in memory at a time."""

    def __init__(self, archive: ArchiveFile) -> None:
        self._archive = archive
        self.encoders: list[tuple[EncoderIdentity, datetime]] = [
            self._said(self._encoder, line) for line in archive.lines(ENCODERS)
        ]
        names = [one.name for one, _ in self.encoders]
        if len(set(names)) != len(names):
            raise archive.wrong("an encoder is there twice")

    def verify(self, on_progress: OnProgress | None = None) -> None:
        """Read everything once: every checksum, every record, every count. ``on_progress`` gets (models, all of them).

        Raises:
            InvalidArchive: something is not as it should be.
        """
        found = dict.fromkeys(self._archive.counts, 0)
        found["blocks"], found["encoders"] = self._archive.counts["blocks"], len(self.encoders)
        names: set[str] = set()
        for model in self.models():
            if model.name in names:
                raise self._archive.wrong(f"the model {model.name!r} is there twice")
            names.add(model.name)
            found["models"] += 1
            found["statistics"] += len(model.statistics)
            found["sample_features"] += sum(one.features is not None for one in model.statistics)
            found["thumbnails"] += len(model.thumbnails)
            if on_progress is not None:
                on_progress(found["models"], max(self._archive.counts["models"], found["models"]))
        kept = [one.name for one in self.transforms()]
        found["transforms"] = len(kept)
        if len(set(kept)) != len(kept):
            raise self._archive.wrong("a transform is there twice")
        if found != self._archive.counts:
            raise self._archive.wrong(f"it has {found}, and its manifest says {dict(self._archive.counts)}")

    def models(self) -> Iterator[ModelRecord]:
        """Every model, in order."""
        for number in range(self._archive.counts["blocks"]):
            lines = self._archive.lines(block_member("models", number))
            arrays = {
                part: self._arrays(block_member(part, number)) for part in ("statistics", "features", "thumbnails")
            }
            unused = {part: set(found) for part, found in arrays.items()}
            for place, line in enumerate(lines):
                yield self._said(self._model, line, place, arrays, unused)
            if any(unused.values()):
                raise self._archive.wrong(f"block {number} has arrays that belong to no model")

    def transforms(self) -> Iterator[TransformRecord]:
        """Every transform, in order."""
        for number, line in enumerate(self._archive.lines(TRANSFORMS)):
            yield self._said(self._transform, line, self._archive.read(f"transforms/{number:06d}.safetensors"))

    # --- one record each

    def _said(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """A record, or the error for an archive whose record is not one."""
        try:
            return read(*arguments)
        except InvalidArchive:
            raise
        except (EngineError, KeyError, TypeError, ValueError, OverflowError) as error:
            said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            raise self._archive.wrong(f"a record cannot be used: {said}") from error

    def _encoder(self, line: Mapping[str, Any]) -> tuple[EncoderIdentity, datetime]:
        _keys(line, ENCODER_KEYS)
        dimension, scale = _whole(line["dimension"], 1), float(line["logit_scale"])
        if dimension > 2**16 or not math.isfinite(scale):
            raise ValueError(f"an encoder of {dimension} dimensions and scale {scale}")
        modalities = frozenset(_text(one, 16) for one in line["modalities"])
        identity = EncoderIdentity(
            _text(line["name"], 512), _text(line["fingerprint"], 64), dimension, scale, modalities
        )
        return identity, _time(line["created_at"])

    def _model(
        self, line: Mapping[str, Any], place: int, arrays: Mapping[str, Arrays], unused: Mapping[str, set[str]]
    ) -> ModelRecord:
        _keys(line, MODEL_KEYS)
        name = checked_name(line["name"])
        statistics = tuple(self._statistics(one, place, arrays, unused) for one in line["statistics"])
        if len({one.encoder for one in statistics}) != len(statistics):
            raise ValueError(f"{name!r} has statistics of an encoder twice")
        previews = []
        for position, media_type in enumerate(line["thumbnails"]):
            key = f"{place}.{position}"
            unused["thumbnails"].discard(key)
            picture = _array(arrays["thumbnails"], key, np.dtype("u1"), (None,))
            previews.append(Thumbnail(picture.tobytes(), _text(media_type, 64)))
        generator = line["generator"]
        return ModelRecord(
            name,
            _details(name, {key: line[key] for key in DETAILS}),
            _mapping(line["source"]),
            None if generator is None else _mapping(generator),
            _time(line["created_at"]), _time(line["updated_at"]), statistics, tuple(previews),
        )  # fmt: skip

    def _statistics(
        self, line: Mapping[str, Any], place: int, arrays: Mapping[str, Arrays], unused: Mapping[str, set[str]]
    ) -> StatisticsRecord:
        _keys(line, STATISTICS_KEYS)
        encoder = _whole(line["encoder"], 0)
        dimension = self.encoders[encoder][0].dimension if encoder < len(self.encoders) else 0
        if not dimension:
            raise ValueError(f"there is no encoder {encoder}")
        key, packed = f"{place}.{encoder}", dimension * (dimension + 1) // 2
        unused["statistics"] -= {f"{key}.mean", f"{key}.covariance"} if line["covariance"] else {f"{key}.mean"}
        mean = _array(arrays["statistics"], f"{key}.mean", blobs.FLOAT32, (dimension,))
        covariance = None
        if line["covariance"]:
            covariance = _array(arrays["statistics"], f"{key}.covariance", blobs.FLOAT32, (packed,))
        features, count = None, line["sample_features"]
        if count is not None:
            unused["features"].discard(key)
            features = _array(arrays["features"], key, blobs.FLOAT16, (_whole(count, 1), dimension))
        if any(not np.isfinite(array).all() for array in (mean, covariance, features) if array is not None):
            raise ValueError("moments or features that are not finite")
        epsilon = float(line["epsilon"])
        if not mean.any() or not math.isfinite(epsilon) or epsilon <= 0:
            raise ValueError(f"a mean of zero, or epsilon {epsilon}")
        quarantine = line["quarantine"]
        if not isinstance(quarantine, list) or not all(_is_pair(one) for one in quarantine):
            raise ValueError("a quarantine that is no list of pairs of texts")
        return StatisticsRecord(
            encoder, _whole(line["samples"], 1), epsilon, mean.tobytes(),
            None if covariance is None else covariance.tobytes(), _text(line["source_digest"], 64),
            _whole(line["quarantined"], 0), quarantine, _time(line["updated_at"]),
            None if features is None else features.tobytes(), 0 if features is None else len(features),
        )  # fmt: skip

    def _transform(self, line: Mapping[str, Any], data: bytes) -> TransformRecord:
        _keys(line, TRANSFORM_KEYS)
        encoder, kind = _whole(line["encoder"], 0), line["parameterisation"]
        if encoder >= len(self.encoders) or kind not in AXES or not isinstance(line["active"], bool):
            raise ValueError(f"a transform of encoder {encoder} and parameterisation {kind!r:.80}")
        dimension = self.encoders[encoder][0].dimension
        blobs.blob_to_arrays(data, blobs.checksum(data), axes=AXES[kind], dimension=dimension)
        return TransformRecord(
            _text(line["name"], 255), encoder, _text(line["method"], 64), _text(line["modality"], 16), kind,
            _whole(line["version"], 0), data, _mapping(line["report"]), line["active"], _time(line["created_at"]),
        )  # fmt: skip

    def _arrays(self, name: str) -> Arrays:
        data = self._archive.read(name)
        try:
            found: Arrays = safetensors.load(data) if data else {}
        except (SafetensorError, KeyError, TypeError, ValueError) as error:  # KeyError: a dtype that NumPy lacks
            raise self._archive.wrong(f"{name} cannot be read: {error}") from error
        return found


def _array(arrays: Arrays, key: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    array = arrays.get(key)
    if array is None:
        raise CorruptData(f"the array {key} is not there")
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, side) for side, wanted in zip(array.shape, shape, strict=True)
    )  # fmt: skip
    if array.dtype != dtype or not fits:
        raise CorruptData(f"the array {key} has dtype {array.dtype} and shape {array.shape}, not {dtype} and {shape}")
    return array


def _keys(line: Any, expected: set[str]) -> None:
    if not isinstance(line, dict) or line.keys() != expected:
        raise ValueError(f"a record must have exactly {', '.join(sorted(expected))}")


def _whole(value: Any, least: int) -> int:
    return checked_whole(value, "a count", least)


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not is_storable(value):
        raise ValueError(f"{value!r:.80} is not a text of up to {most} characters")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return checked_json("a description", value)


def _details(name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return checked_details(given)
    except InvalidInput as error:
        raise InvalidInput(f"{name!r}: {error.message}") from error


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) and is_storable(one) for one in value)
    )


def _time(value: Any) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError(f"{value!r:.80} has no time zone")
    return found
