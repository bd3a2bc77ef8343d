"""The index as one process sees it: loaded from its snapshot, brought up to the database, rebuilt when in doubt.

The database is the truth. A view is an immutable index together with the last change it contains; refreshing
replays what was committed since and swaps the view, so that searches in flight keep the one they began with. There is
one view an encoder and space, and each has its own snapshots.
"""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.errors import CorruptData, StorageError
from engine.index import FlatIndex, LiveIndex
from engine.index import snapshot as snapshots
from engine.index.choose import suited
from engine.records import EncoderIdentity
from engine.scores import unit
from engine.search.spaces import FIRST_MOMENT, IDENTITY, Space
from engine.storage import Catalog

Int64 = NDArray[np.int64]

log = logging.getLogger("engine.index")
BLOCK = 65_536  # means that are mapped at a time
LARGE = 50_000  # models of an index that is not written anew for a few writes
COVARIANCES = 64  # models whose covariances are in memory at a time


@dataclass(frozen=True, eq=False)
class IndexView:
    """One encoder's index in one space, the last change it contains, and the models left out: their mean is damaged."""

    encoder_id: int
    identity: EncoderIdentity
    index: LiveIndex
    change: int
    damaged: frozenset[int]
    space: Space = IDENTITY


class IndexViews:
    """The views of one collection, one an encoder and space. Threads may share it."""

    def __init__(self, catalog: Catalog, root: Path, kind: str = "auto") -> None:
        self.catalog = catalog
        self.kind = kind
        self.root = root
        self._views: dict[tuple[int, str], IndexView] = {}
        self._published: dict[tuple[int, str], tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._collection = catalog.facts()["id"]

    def folder(self, identity: EncoderIdentity, key: str = FIRST_MOMENT) -> Path:
        """Where the snapshots of that encoder and space live."""
        encoder = f"{_plain(identity.name)}-{identity.fingerprint[:12]}"
        return self.root / (encoder if key == FIRST_MOMENT else f"{encoder}.{_plain(key)}")

    def beside(self, identity: EncoderIdentity, what: str) -> Path:
        """Where something else that is made of that encoder's statistics lives: no space has such a name."""
        return self.root / f"{self.folder(identity).name}..{what}"

    def has(self, encoder_id: int, identity: EncoderIdentity, key: str) -> bool:
        """Whether that space has been searched by: in this process, or in one that left a snapshot."""
        return (encoder_id, key) in self._views or self.folder(identity, key).is_dir()

    def current(self, encoder_id: int, identity: EncoderIdentity, space: Space = IDENTITY) -> IndexView:
        """The view as of the last change committed by anybody."""
        newest = self.catalog.last_change()
        view = self._views.get((encoder_id, space.key))
        if view is not None and view.change == newest and view.space.version == space.version:
            return view
        with self._lock:
            view = self._views.get((encoder_id, space.key))
            known = view is not None and view.space.version == space.version
            view = self._replayed(view) if view and known else self._opened(encoder_id, identity, space)
            self._views[encoder_id, space.key] = view
            return view

    def rebuild(self, encoder_id: int, identity: EncoderIdentity, space: Space = IDENTITY) -> IndexView:
        """Build the index from SQL and publish it."""
        with self._lock:
            view = self._built(encoder_id, identity, space)
            self._views[encoder_id, space.key] = view
            self._publish(view)
            return view

    def forget(self, encoder_id: int, identity: EncoderIdentity, key: str) -> None:
        """Drop a space's view and its snapshots."""
        assert key != FIRST_MOMENT, "every collection has that one"
        with self._lock:
            self._views.pop((encoder_id, key), None)
            self._published.pop((encoder_id, key), None)
            shutil.rmtree(self.folder(identity, key), ignore_errors=True)

    def publish_stale(self) -> None:
        """Publish every view that is newer than its snapshot; a failure is logged, for a snapshot is only a cache."""
        with self._lock:
            for key, view in self._views.items():
                version, change = self._published.get(key, (None, -1))
                if (version, change) == (view.space.version, view.change):
                    continue
                if version == view.space.version and len(view.index.base) >= LARGE and view.index.writes:
                    continue  # opening it replays what little is new: that costs less than writing all of it again
                try:
                    self._publish(view)
                except StorageError as error:
                    log.warning("%s", error)

    def _opened(self, encoder_id: int, identity: EncoderIdentity, space: Space) -> IndexView:
        folder = self.folder(identity, space.key)
        try:
            found = snapshots.load_current(folder)
            if found is None:
                return self._built(encoder_id, identity, space)
            manifest, index = found
            expected = (self._collection, identity.fingerprint, identity.dimension + space.extra, space.key)
            if (manifest.collection, manifest.fingerprint, manifest.dimension, manifest.space) != expected:
                raise CorruptData(f"the index in {folder} belongs to another collection")
            if manifest.change > self.catalog.last_change():
                raise CorruptData(f"the index in {folder} is newer than the database")
        except CorruptData as error:
            log.warning("%s; rebuilding it from the database", error)
            return self._built(encoder_id, identity, space)
        if manifest.version != space.version:
            log.info("the index in %s is of another transform; rebuilding it from the database", folder)
            return self._built(encoder_id, identity, space)
        self._published[encoder_id, space.key] = (manifest.version, manifest.change)
        index = index if self.kind == "auto" else suited(index, self.kind)
        live = LiveIndex.over(index, wanted=self.kind)
        view = self._replayed(IndexView(encoder_id, identity, live, manifest.change, frozenset(), space))
        stored = self.catalog.statistics_count(encoder_id)
        if len(view.index) + len(view.damaged) != stored:
            log.warning(
                "the index in %s has %d models, the database %d; rebuilding it", folder, len(view.index), stored
            )
            return self._built(encoder_id, identity, space)
        return view

    def _built(self, encoder_id: int, identity: EncoderIdentity, space: Space) -> IndexView:
        dimension = identity.dimension + space.extra
        none = FlatIndex.build(np.empty(0, np.int64), np.empty((0, dimension), np.float32), dimension=dimension)
        empty = LiveIndex.over(none, wanted=self.kind)
        view = self._replayed(IndexView(encoder_id, identity, empty, 0, frozenset(), space))
        return replace(view, index=view.index.compacted())

    def _replayed(self, view: IndexView) -> IndexView:
        ids, means, removed, damaged, newest = self.catalog.means_since(view.encoder_id, view.change)
        if newest == view.change:
            return view
        vectors = models_to_vectors(self.catalog, view.encoder_id, view.space, ids, means)
        finite = np.isfinite(vectors).all(axis=1)
        broken = {*damaged, *ids[~finite].tolist()}
        for model_id in broken - view.damaged:
            log.warning("model id %d is left out of the index: its stored statistics are damaged", model_id)
        gone = np.array([*removed, *broken], np.int64)
        index = view.index
        if len(ids) or len(gone):
            index = index.updated(ids[finite], vectors[finite], gone)
        still = (view.damaged - set(ids.tolist()) - set(removed)) | broken
        return IndexView(view.encoder_id, view.identity, index, newest, frozenset(still), view.space)

    def _publish(self, view: IndexView) -> None:
        snapshots.publish(
            self.folder(view.identity, view.space.key),
            view.index.compacted().base,
            collection=self._collection,
            encoder=view.identity.name,
            fingerprint=view.identity.fingerprint,
            space=view.space.key,
            version=view.space.version,
            change=view.change,
            dimension=view.identity.dimension + view.space.extra,
        )
        self._published[view.encoder_id, view.space.key] = (view.space.version, view.change)


def models_to_vectors(
    catalog: Catalog, encoder_id: int, space: Space, ids: Int64, means: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A space's vectors ``(n, d + extra)`` of models with stored means ``(n, d)``, a block at a time.

    A row is NaN where the model's mean is damaged, or its covariance, where the space needs that.
    """
    if space.statistics_to_vectors is None:
        starts = range(0, max(len(means), 1), BLOCK)
        return np.concatenate([space.means_to_vectors(unit(means[start : start + BLOCK])) for start in starts])
    vectors = np.full((len(ids), means.shape[1] + space.extra), np.nan, np.float32)
    for start in range(0, len(ids), COVARIANCES):
        block = ids[start : start + COVARIANCES].tolist()
        good, _ = catalog.statistics(encoder_id, block)
        rows = [start + place for place, model_id in enumerate(block) if model_id in good]
        if rows:
            with one_thread():
                vectors[rows] = space.statistics_to_vectors([good[int(ids[row])].statistics for row in rows])
    return vectors


def _plain(name: str) -> str:
    """A name as part of a folder's, on any system."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:80]
