"""The index as one process sees it: loaded from its snapshot, brought up to the database, rebuilt when in doubt.

The database is the truth. A view is an immutable index together with the last change it contains; refreshing
replays what was committed since and swaps the view, so that searches in flight keep the one they began with.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import CorruptData, StorageError
from engine.index import FirstMomentIndex, FlatIndex
from engine.index import snapshot as snapshots
from engine.records import EncoderIdentity
from engine.scores import unit
from engine.storage import Catalog

log = logging.getLogger("engine.index")


@dataclass(frozen=True, eq=False)
class IndexView:
    """One encoder's index, the last change it contains, and the models left out because their mean is damaged."""

    encoder_id: int
    identity: EncoderIdentity
    index: FirstMomentIndex
    change: int
    damaged: frozenset[int]


class IndexViews:
    """The views of one collection, one an encoder. Threads may share it."""

    def __init__(self, catalog: Catalog, root: Path) -> None:
        self.catalog = catalog
        self.root = root
        self._views: dict[int, IndexView] = {}
        self._published: dict[int, int] = {}
        self._lock = threading.Lock()
        self._collection = catalog.facts()["id"]

    def folder(self, identity: EncoderIdentity) -> Path:
        """Where that encoder's snapshots live."""
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in identity.name)[:80]
        return self.root / f"{safe}-{identity.fingerprint[:12]}"

    def current(self, encoder_id: int, identity: EncoderIdentity) -> IndexView:
        """The view as of the last change committed by anybody."""
        newest = self.catalog.last_change()
        view = self._views.get(encoder_id)
        if view is not None and view.change == newest:
            return view
        with self._lock:
            view = self._views.get(encoder_id)
            view = self._opened(encoder_id, identity) if view is None else self._replayed(view)
            self._views[encoder_id] = view
            return view

    def loaded(self, encoder_id: int) -> IndexView | None:
        """The view as it stands in memory, if any: no SQL."""
        return self._views.get(encoder_id)

    def rebuild(self, encoder_id: int, identity: EncoderIdentity) -> IndexView:
        """Build the index from SQL and publish it."""
        with self._lock:
            view = self._built(encoder_id, identity)
            self._views[encoder_id] = view
            self._publish(view)
            return view

    def publish_stale(self) -> None:
        """Publish every view that is newer than its snapshot; a failure is logged, for a snapshot is only a cache."""
        with self._lock:
            for view in self._views.values():
                if self._published.get(view.encoder_id) == view.change:
                    continue
                try:
                    self._publish(view)
                except StorageError as error:
                    log.warning("%s", error)

    def _opened(self, encoder_id: int, identity: EncoderIdentity) -> IndexView:
        folder = self.folder(identity)
        try:
            found = snapshots.load_current(folder)
            if found is None:
                return self._built(encoder_id, identity)
            manifest, index = found
            expected = (self._collection, identity.fingerprint, identity.dimension)
            if (manifest.collection, manifest.fingerprint, manifest.dimension) != expected:
                raise CorruptData(f"the index in {folder} belongs to another collection")
            if manifest.change > self.catalog.last_change():
                raise CorruptData(f"the index in {folder} is newer than the database")
        except CorruptData as error:
            log.warning("%s; rebuilding it from the database", error)
            return self._built(encoder_id, identity)
        self._published[encoder_id] = manifest.change
        view = self._replayed(IndexView(encoder_id, identity, index, manifest.change, frozenset()))
        stored = self.catalog.statistics_count(encoder_id)
        if len(view.index) + len(view.damaged) != stored:
            log.warning(
                "the index in %s has %d models, the database %d; rebuilding it", folder, len(view.index), stored
            )
            return self._built(encoder_id, identity)
        return view

    def _built(self, encoder_id: int, identity: EncoderIdentity) -> IndexView:
        empty = FlatIndex.build(
            np.empty(0, np.int64), np.empty((0, identity.dimension), np.float32), dimension=identity.dimension
        )
        return self._replayed(IndexView(encoder_id, identity, empty, 0, frozenset()))

    def _replayed(self, view: IndexView) -> IndexView:
        ids, means, removed, damaged, newest = self.catalog.means_since(view.encoder_id, view.change)
        if newest == view.change:
            return view
        vectors = unit(means)
        finite = np.isfinite(vectors).all(axis=1)
        broken = {*damaged, *ids[~finite].tolist()}
        for model_id in broken - view.damaged:
            log.warning("model id %d is left out of the index: its stored mean is damaged", model_id)
        gone = np.array([*removed, *broken], np.int64)
        index = view.index
        if len(ids) or len(gone):
            index = index.updated(ids[finite], vectors[finite], gone)
        still = (view.damaged - set(ids.tolist()) - set(removed)) | broken
        return IndexView(view.encoder_id, view.identity, index, newest, frozenset(still))

    def _publish(self, view: IndexView) -> None:
        snapshots.publish(
            self.folder(view.identity),
            view.index,
            collection=self._collection,
            encoder=view.identity.name,
            fingerprint=view.identity.fingerprint,
            change=view.change,
            dimension=view.identity.dimension,
        )
        self._published[view.encoder_id] = view.change
