"""Records to an archive: block by block into a file beside, synced, and renamed when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from engine.errors import Conflict, StorageError
from engine.exchange.archive_file import (
    ENCODERS,
    FORMAT,
    MANIFEST,
    TRANSFORMS,
    VERSION,
    block_member,
    manifest_digest,
)
from engine.files import move_into_place, open_private, write_error
from engine.filters import Where
from engine.storage import Database
from engine.storage.archive_rows import ModelRecord, Reading, StatisticsRecord, reading
from engine.storage.model_rows import now

BLOCK_BYTES = 32 * 2**20
BLOCK_MODELS = 1024
"""A block of models is written when it has so many bytes, or models."""
STORED = (1980, 1, 1, 0, 0, 0)
"""The time that zip's entries have: that of the export stands in the manifest."""
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Exported:
    """What an archive got: how many of everything, and what was left out because it is damaged, with the reason.

    ``remarks`` are sentences about values of the filter that no model has.
    """

    counts: Mapping[str, int]
    damaged: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def export_archive(
    database: Database,
    path: Path,
    where: Where | None = None,
    *,
    facts: Mapping[str, str],
    engine_version: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the models that a filter admits, as of one moment, and every transform; the file appears when it is whole.

    Raises:
        InvalidFilter
        Conflict: the path is a folder.
        DiskFull, StorageError: it could not be written; nothing is left of it.
    """
    if path.is_dir():
        raise Conflict(f"{path} is a folder", hint="give the name of a file")
    with _beside(path) as stream, reading(database) as source:
        writer = _Writer(stream, source)
        try:
            return writer.write(where, facts, engine_version, on_progress)
        finally:
            writer.close()


class _Writer:
    def __init__(self, stream: IO[bytes], source: Reading) -> None:
        self._zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._source = source
        self._members: dict[str, dict[str, Any]] = {}
        self._counts = dict.fromkeys(
            ("models", "statistics", "sample_features", "thumbnails", "encoders", "transforms", "blocks"), 0
        )  # fmt: skip

    def write(
        self,
        where: Where | None,
        facts: Mapping[str, str],
        engine_version: str,
        on_progress: Callable[[int, int], None] | None,
    ) -> Exported:
        encoders = self._source.encoders()
        self._counts["encoders"] = len(encoders)
        self._lines(ENCODERS, (
            {
                "name": one.name, "fingerprint": one.fingerprint, "dimension": one.dimension,
                "logit_scale": one.logit_scale, "modalities": sorted(one.modalities), "created_at": at.isoformat(),
            }
            for one, at in encoders
        ))  # fmt: skip
        ids, remarks = self._source.matching(where)
        for block in _blocks(self._source.models(ids)):
            self._block(block)
            if on_progress is not None:
                on_progress(self._counts["models"], len(ids))
        self._transforms()
        damaged = dict(self._source.damaged.models)
        damaged.update((f"transform {name}", "its arrays are damaged") for name in self._source.damaged.transforms)
        manifest = {
            "format": FORMAT, "version": VERSION, "engine": engine_version, "created_at": now().isoformat(),
            "collection": facts.get("id", ""), "default_encoder": facts.get("default_encoder", ""),
            "counts": self._counts, "left_out": sorted(damaged), "members": self._members,
        }  # fmt: skip
        manifest["sha256"] = manifest_digest(manifest)
        self._put(MANIFEST, json.dumps(manifest, indent=1).encode())
        self._zip.close()
        return Exported(dict(self._counts), damaged, remarks)

    def close(self) -> None:
        """Let go of the file, which is removed if it is not whole."""
        with suppress(Exception):
            self._zip.close()

    def _block(self, models: list[ModelRecord]) -> None:
        number = self._counts["blocks"]
        self._counts["blocks"] += 1
        self._counts["models"] += len(models)
        tensors: dict[str, Arrays] = {"statistics": {}, "features": {}, "thumbnails": {}}
        lines = [_model_to_line(place, model, tensors) for place, model in enumerate(models)]
        self._lines(block_member("models", number), iter(lines))
        for part, arrays in tensors.items():
            if arrays:
                self._member(block_member(part, number), safetensors.save(arrays))
        self._counts["statistics"] += sum(len(model.statistics) for model in models)
        self._counts["sample_features"] += len(tensors["features"])
        self._counts["thumbnails"] += len(tensors["thumbnails"])

    def _transforms(self) -> None:
        lines = []
        for number, one in enumerate(self._source.transforms()):
            self._member(f"transforms/{number:06d}.safetensors", one.data)
            lines.append({
                "name": one.name, "encoder": one.encoder, "method": one.method, "modality": one.modality,
                "parameterisation": one.parameterisation, "version": one.version, "active": one.active,
                "report": one.report, "created_at": one.created_at.isoformat(),
            })  # fmt: skip
        self._counts["transforms"] = len(lines)
        self._lines(TRANSFORMS, iter(lines))

    def _lines(self, name: str, lines: Iterator[Mapping[str, Any]]) -> None:
        self._member(name, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def _member(self, name: str, data: bytes) -> None:
        self._members[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self._put(name, data)

    def _put(self, name: str, data: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(name, STORED), data)


def _model_to_line(place: int, model: ModelRecord, tensors: dict[str, Arrays]) -> dict[str, Any]:
    """A model's line; its blobs go into the block's tensors, named by its place and the encoder's or picture's."""
    for one in model.statistics:
        key = f"{place}.{one.encoder}"
        tensors["statistics"][f"{key}.mean"] = np.frombuffer(one.mean, "<f4")
        if one.covariance is not None:
            tensors["statistics"][f"{key}.covariance"] = np.frombuffer(one.covariance, "<f4")
        if one.features is not None:
            tensors["features"][key] = np.frombuffer(one.features, "<f2").reshape(one.count, -1)
    for position, picture in enumerate(model.thumbnails):
        tensors["thumbnails"][f"{place}.{position}"] = np.frombuffer(picture.data, np.uint8)
    return {
        "name": model.name, **model.details, "source": model.source, "generator": model.generator,
        "created_at": model.created_at.isoformat(), "updated_at": model.updated_at.isoformat(),
        "statistics": [_statistics_to_json(one) for one in model.statistics],
        "thumbnails": [picture.media_type for picture in model.thumbnails],
    }  # fmt: skip


def _statistics_to_json(one: StatisticsRecord) -> dict[str, Any]:
    return {
        "encoder": one.encoder, "samples": one.samples, "epsilon": one.epsilon,
        "covariance": one.covariance is not None,
        "sample_features": one.count if one.features is not None else None, "source_digest": one.source_digest,
        "quarantined": one.quarantined, "quarantine": one.quarantine, "updated_at": one.updated_at.isoformat(),
    }  # fmt: skip


def _blocks(models: Iterable[ModelRecord]) -> Iterator[list[ModelRecord]]:
    block: list[ModelRecord] = []
    size = 0
    for model in models:
        block.append(model)
        size += sum(len(one.mean) + len(one.covariance or b"") + len(one.features or b"") for one in model.statistics)
        size += sum(len(picture.data) for picture in model.thumbnails)
        if size >= BLOCK_BYTES or len(block) >= BLOCK_MODELS:
            yield block
            block, size = [], 0
    if block:
        yield block


@contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path`` at the end of the block, and is removed on any error."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.beside")
    try:
        with open_private(beside, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        move_into_place(beside, path)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def unwritten(path: Path, error: OSError) -> StorageError:
    """The error for a file that could not be written."""
    hint = "nothing of it was left; make room or choose another folder"
    return write_error(f"{path} could not be written", error, hint=hint)
