"""A map of a collection: every model a point of the plane, near those whose samples have a like mean.

Coordinates are computed once, by UMAP or from the two leading principal components, and kept beside the index. Models
that came since are put between the nearest of those that have a place, until the map is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptData, InvalidInput, MissingDependency
from engine.files import make_folder, move_into_place, open_private, sync, write_error
from engine.index import FlatIndex
from engine.search.healing import HealingIndex

log = logging.getLogger("engine.search")
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

AUTO, UMAP, PCA = "auto", "umap", "pca"
METHODS = (AUTO, UMAP, PCA)
MAP = "map"
"""What the file beside the index is called."""
MOST = 50_000
"""Models on a map; of more, so many are drawn by lot."""
FEWEST = 15
"""Models that UMAP needs to find neighbourhoods among."""
LEAST = 4
"""Models that UMAP can lay out at all: its first guess takes three eigenvectors of a matrix that must have more."""
NEAREST = 5
"""Models between which a new one is put."""
SEED = 0
BLOCK = 8192


@dataclass(frozen=True, eq=False)
class CollectionMap:
    """``points`` ``(n, 2)`` float32 in [−1, 1] of the models ``ids`` ``(n,)``.

    ``method`` is ``umap`` or ``pca``; ``change`` the last change of the collection that it was made from, ``placed``
    how many of the models came after it.
    """

    ids: Int64
    points: Float32
    method: str
    change: int
    placed: int = 0


def index_to_map(index: HealingIndex, change: int, method: str = AUTO) -> CollectionMap:
    """Coordinates for the models of an index.

    Args:
        method: ``umap`` (the package umap-learn), ``pca``, or ``auto``: UMAP where it is installed and there are at
            least ``FEWEST`` models.

    Raises:
        InvalidInput: no such method, or UMAP was asked for and there are fewer than ``LEAST`` models.
        MissingDependency: UMAP was asked for and is not installed.
    """
    if method not in METHODS:
        raise InvalidInput(f"there is no map by {method!r}", hint=f"maps are made by {', '.join(METHODS)}")
    ids = np.sort(index.ids)
    if method == UMAP and len(ids) < LEAST:
        raise InvalidInput(f"UMAP needs {LEAST} models, there are {len(ids)}", hint="make the map with pca")
    if len(ids) > MOST:
        ids = np.sort(np.random.default_rng(SEED).choice(ids, MOST, replace=False))
    vectors = _vectors(index, ids)
    chosen = method
    if method == AUTO:
        chosen = UMAP if len(ids) >= FEWEST and _has_umap() else PCA
    points = _umap(vectors) if chosen == UMAP else _principal(vectors)
    return CollectionMap(ids, _fitted(points), chosen, change)


def followed(known: CollectionMap, index: HealingIndex) -> CollectionMap:
    """The map without models that are gone, and with those that came, each between its nearest neighbours."""
    there = np.isin(known.ids, index.ids)
    ids, points = known.ids[there], known.points[there]
    came = np.setdiff1d(index.ids, ids)[: max(MOST - len(ids), 0)]
    if not len(came) or not len(ids):
        return CollectionMap(ids, points, known.method, known.change)
    placed = np.empty((len(came), 2), np.float32)
    settled = _vectors(index, ids)
    width = min(NEAREST, len(ids))
    for start in range(0, len(came), BLOCK // 8):
        block = slice(start, start + BLOCK // 8)
        products = _vectors(index, came[block]) @ settled.T
        nearest = np.argpartition(-products, width - 1, axis=1)[:, :width]
        placed[block] = points[nearest].mean(1)
    return CollectionMap(
        np.concatenate([ids, came]), np.concatenate([points, placed]), known.method, known.change, len(came)
    )  # fmt: skip


def save_map(path: Path, made: CollectionMap) -> None:
    """Keep it, whole or not at all.

    Raises:
        DiskFull, StorageError: it cannot be written.
    """
    from safetensors.numpy import save

    beside = path.with_name(f"{path.name}.beside")
    arrays: dict[str, NDArray[Any]] = {"ids": made.ids, "points": np.ascontiguousarray(made.points)}
    said = {"method": made.method, "change": str(made.change)}
    try:
        make_folder(path.parent)
        with open_private(beside, "wb") as stream:
            stream.write(save(arrays, {**said, "sha256": _digest(arrays, said)}))
        sync(beside)
        move_into_place(beside, path)
    except OSError as error:
        raise write_error(
            f"the map cannot be kept in {path}", error, hint="make room, or the folder writable"
        ) from error


def read_map(path: Path) -> CollectionMap | None:
    """What was kept, or None where nothing was.

    Raises:
        CorruptData: it cannot be read, or does not match its checksum.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.exists(path):  # nor where the folder may not be entered
        return None
    try:
        with safe_open(path, "np") as stored:
            arrays = {name: stored.get_tensor(name) for name in ("ids", "points")}
            said = dict(stored.metadata() or {})
        if said.pop("sha256", None) != _digest(arrays, said):
            raise CorruptData(f"the map in {path} does not match its checksum")
        return CollectionMap(arrays["ids"], arrays["points"], said["method"], int(said["change"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptData(f"the map in {path} cannot be read: {str(error)!r}") from error


def load_map(path: Path) -> CollectionMap | None:
    """What was kept, or None where nothing was, or nothing that can be read."""
    try:
        return read_map(path)
    except CorruptData as error:
        log.warning("%s", error)
        return None


def _digest(arrays: dict[str, NDArray[Any]], said: dict[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(said.items())).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _vectors(index: HealingIndex, ids: Int64) -> Float32:
    found = np.empty((len(ids), index.dimension), np.float32)
    for start in range(0, len(ids), BLOCK):
        found[start : start + BLOCK] = index.vectors(ids[start : start + BLOCK])
    return found


def _has_umap() -> bool:
    from importlib.util import find_spec

    return find_spec("umap") is not None


def _umap(vectors: Float32) -> Float32:
    """McInnes, Healy & Melville (2018), by cosine, from a fixed seed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports
            import umap
    except ImportError as error:
        raise MissingDependency(
            f"this map needs the package {error.name}", hint="pip install umap-learn, or make it with pca"
        ) from error
    fewest = min(15, len(vectors) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a seed means one thread: it says so each time
        made = umap.UMAP(
            n_neighbors=fewest, min_dist=0.25, metric="cosine", random_state=SEED,
            precomputed_knn=_neighbours(vectors, fewest),
        ).fit_transform(vectors)  # fmt: skip
    points = np.asarray(made, np.float32)
    lost = ~np.isfinite(points).all(1)  # it leaves out what has no neighbour
    points[lost] = np.median(points[~lost], 0) if (~lost).any() else 0
    return points


def _neighbours(vectors: Float32, count: int) -> tuple[Int64, Float32]:
    """Each one's ``count`` nearest, itself among them, and how far they are: 1 − cosine, ``(n, count)`` both.

    Exactly, and without compiling UMAP's own search, which takes longer than most maps do.
    """
    rows = np.arange(len(vectors))
    cosines, nearest = FlatIndex(rows, vectors, vectors.shape[1]).search(vectors, count)
    apart = np.maximum(1 - cosines, 0)
    apart[nearest == rows[:, None]] = 0  # else its rounding passes for the nearest's distance
    return nearest, apart


def _principal(vectors: Float32) -> Float32:
    if not len(vectors):
        return np.empty((0, 2), np.float32)
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    second = centred.T.astype(np.float64) @ centred
    axes = np.linalg.eigh(second)[1][:, ::-1][:, :2]
    strongest = axes[np.abs(axes).argmax(0), range(axes.shape[1])]  # the same way round every time
    found = np.zeros((len(vectors), 2), np.float32)
    found[:, : axes.shape[1]] = centred @ (axes * np.sign(strongest)).astype(np.float32)
    return found


def _fitted(points: Float32) -> Float32:
    if not len(points):
        return points
    low, high = points.min(0), points.max(0)
    half = float((high - low).max()) / 2 or 1.0
    return np.ascontiguousarray((points - (low + high) / 2) / half, np.float32)
