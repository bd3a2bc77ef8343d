"""The index as one process sees it: loaded from its snapshot, brought up to the database, rebuilt when in doubt.

The database is the truth. A view is an immutable index together with the last change it contains; refreshing
replays what was committed since and swaps the view, so that searches in flight keep the one they began with. There is
one view an encoder and space, and each has its own snapshots.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.errors import CorruptData, DamagedIndex, StorageError
from engine.index import LiveIndex
from engine.index import snapshot as snapshots
from engine.index.choose import AUTO, built, reopened
from engine.index.quantized.query_families import RealQueries
from engine.index.quantized.tuning import JUDGES, QUERIES
from engine.records import EncoderIdentity, EncoderRef
from engine.scores import unit
from engine.search.healing import HealingIndex
from engine.search.real_queries import real_queries
from engine.search.spaces import FIRST_MOMENT, IDENTITY, Space
from engine.storage import Catalog
from engine.storage.deadlines import unhurried

Int64 = NDArray[np.int64]

log = logging.getLogger("engine.index")
BLOCK = 65_536  # means that are mapped at a time
LARGE = 50_000  # models of an index that is not written anew for a few writes
COVARIANCES = 64  # models whose covariances are in memory at a time


@dataclass(frozen=True, eq=False)
class IndexView:
    """One encoder's index in one space, the last change it contains, and the models left out: their mean is damaged.

    The index heals: a read that meets damaged files is answered by an index built from the database in their place,
    with those of this view's models that are still there.
    """

    encoder: EncoderRef
    index: HealingIndex
    change: int
    damaged: frozenset[int]
    space: Space = IDENTITY

    @property
    def encoder_id(self) -> int:
        """The encoder's number."""
        return self.encoder.id

    @property
    def identity(self) -> EncoderIdentity:
        """The encoder."""
        return self.encoder.identity

    @property
    def displaced(self) -> bool:
        """See ``LiveIndex.displaced``."""
        return self.index.live.displaced


@dataclass(frozen=True, eq=False)
class _Read:
    """Vectors ``(n, d + extra)`` of models, the ids that are gone, those that are damaged, and the last change."""

    ids: Int64
    vectors: NDArray[np.float32]
    removed: list[int]
    broken: frozenset[int]
    newest: int


class IndexViews:
    """The views of one collection, one an encoder and space. Threads may share it."""

    def __init__(self, catalog: Catalog, root: Path, kind: str = AUTO) -> None:
        self.catalog = catalog
        self.kind = kind
        self.root = root
        self._views: dict[tuple[int, str], IndexView] = {}
        self._published: dict[tuple[int, str], tuple[str, int]] = {}
        self._folding: dict[tuple[int, str], threading.Thread] = {}
        self._locks: defaultdict[tuple[int, str], threading.Lock] = defaultdict(threading.Lock)
        self._collection = catalog.facts()["id"]

    @property
    def collection(self) -> str:
        """The id of the collection that snapshots must be of."""
        return self._collection

    def folder(self, identity: EncoderIdentity, key: str = FIRST_MOMENT) -> Path:
        """Where the snapshots of that encoder and space live."""
        encoder = f"{_plain(identity.name)}-{identity.fingerprint[:12]}"
        return self.root / (encoder if key == FIRST_MOMENT else f"{encoder}.{_plain(key)}")

    def beside(self, identity: EncoderIdentity, what: str) -> Path:
        """Where something else that is made of that encoder's statistics lives: no space has such a name."""
        return self.root / f"{self.folder(identity).name}..{what}"

    def has(self, encoder: EncoderRef, key: str) -> bool:
        """Whether that space has been searched by: in this process, or in one that left a snapshot."""
        return (encoder.id, key) in self._views or os.path.isdir(self.folder(encoder.identity, key))

    def current(self, encoder: EncoderRef, space: Space = IDENTITY, *, change: int | None = None) -> IndexView:
        """The view as of ``change`` or later; by default as of the last change committed by anybody."""
        newest = self.catalog.last_change() if change is None else change
        key = (encoder.id, space.key)
        view = self._views.get(key)
        if (
            view is not None
            and view.change >= newest
            and view.space.version == space.version
            and (not view.displaced or key in self._folding)
        ):
            return view
        with unhurried(), self._locks[key]:
            view = self._views.get(key)
            known = view is not None and view.space.version == space.version
            try:
                view = self._replayed(view) if view and known else self._opened(encoder, space)
                self._views[key] = view
                if not known and len(view.index) >= LARGE:
                    self._publish_built(view)
                    view = self._views[key]
                return self._folded(view) if view.index.live.overgrown else view
            except DamagedIndex as error:
                return self._mended(encoder, space, error)

    def rebuild(self, encoder: EncoderRef, space: Space = IDENTITY) -> IndexView:
        """Build the index from SQL and publish it."""
        key = (encoder.id, space.key)
        with self._locks[key]:
            self._views[key] = self._built(encoder, space)
            self._publish(self._views[key])
            return self._views[key]

    def held(self, encoder_id: int, key: str = FIRST_MOMENT) -> IndexView | None:
        """The view that this process searches by, where it has searched."""
        return self._views.get((encoder_id, key))

    def forget(self, encoder: EncoderRef, key: str) -> None:
        """Drop a space's view and its snapshots."""
        assert key != FIRST_MOMENT, "every collection has that one"
        with self._locks[encoder.id, key]:
            self._views.pop((encoder.id, key), None)
            self._published.pop((encoder.id, key), None)
            shutil.rmtree(self.folder(encoder.identity, key), ignore_errors=True)

    def publish_stale(self) -> None:
        """Publish every view that is newer than its snapshot; a failure is logged, for a snapshot is only a cache."""
        for key in list(self._views):
            with self._locks[key]:
                view = self._views.get(key)
                if view is not None and self._is_stale(view):
                    self._publish_built(view)

    def _is_stale(self, view: IndexView) -> bool:
        """Whether a view's snapshot should be written anew."""
        version, change = self._published.get((view.encoder_id, view.space.key), (None, -1))
        if (version, change) == (view.space.version, view.change):
            return False
        live = view.index.live
        waits = live.writes or live.displaced
        # opening it replays what little is new: that costs less than writing all of it again
        return not (version == view.space.version and len(live.base) >= LARGE and waits)

    def _publish_built(self, view: IndexView) -> None:
        """Publish a view where that is possible, so that nobody has to build its index again."""
        if not self._is_stale(view):
            return
        try:
            self._publish(view)
        except DamagedIndex as error:
            self._mended(view.encoder, view.space, error)
        except StorageError as error:
            log.warning("%s", error)

    def _healed(self, encoder: EncoderRef, space: Space, found: LiveIndex, error: DamagedIndex) -> LiveIndex:
        """The same models in an index that is whole, for a view in which damage was found.

        Several searches may find it at once, in views that share a base: the first builds, the others take what it
        has built. Models that came since stay out, because the view is of one moment.
        """
        with unhurried(), self._locks[encoder.id, space.key]:
            view = self._views.get((encoder.id, space.key))
            if view is None or view.space.version != space.version:  # its space has been replaced since
                view = self._built(encoder, space)
            elif view.index.live.base is found.base:
                view = self._mended(encoder, space, error)
        live = view.index.live
        later = np.setdiff1d(live.ids, found.ids)
        if not len(later):
            return live
        return live.updated(np.empty(0, np.int64), np.empty((0, live.base.dimension), np.float32), later)

    def _mended(self, encoder: EncoderRef, space: Space, error: DamagedIndex) -> IndexView:
        """Build an index that turned out to be damaged, and publish it where that is possible."""
        log.warning("%s; rebuilding it from the database", error.message)
        view = self._built(encoder, space)
        self._views[encoder.id, space.key] = view
        try:
            self._publish(view)
        except StorageError as unwritten:
            log.warning("%s", unwritten)
        return self._views[encoder.id, space.key]

    def _opened(self, encoder: EncoderRef, space: Space) -> IndexView:
        folder = self.folder(encoder.identity, space.key)
        try:
            found = snapshots.load_current(folder)
            if found is None:
                return self._built(encoder, space)
            manifest, index = found
            expected = (
                self._collection,
                encoder.identity.fingerprint,
                encoder.identity.dimension + space.extra,
                space.key,
            )
            if (manifest.collection, manifest.fingerprint, manifest.dimension, manifest.space) != expected:
                raise CorruptData(f"the index in {folder} belongs to another collection")
            if manifest.change > self.catalog.last_change():
                raise CorruptData(f"the index in {folder} is newer than the database")
        except CorruptData as error:
            log.warning("%s; rebuilding it from the database", error)
            return self._built(encoder, space)
        if manifest.version != space.version:
            log.info("the index in %s is of another transform; rebuilding it from the database", folder)
            return self._built(encoder, space)
        self._published[encoder.id, space.key] = (manifest.version, manifest.change)
        real = self._real_queries(encoder.id, space)
        index, why = reopened(index, manifest.why, self.kind, real)
        live = LiveIndex.over(index, wanted=self.kind, why=why, real=real)
        view = self._replayed(self._view(encoder, live, manifest.change, frozenset(), space))
        stored = self.catalog.statistics_count(encoder.id)
        if len(view.index) + len(view.damaged) != stored:
            log.warning(
                "the index in %s has %d models, the database %d; rebuilding it", folder, len(view.index), stored
            )
            return self._built(encoder, space)
        return view

    def _built(self, encoder: EncoderRef, space: Space) -> IndexView:
        found = self._read(encoder.id, space, 0, frozenset())
        if len(found.ids) >= LARGE:
            log.warning("building the index of %d models: this takes a while, once", len(found.ids))
        real = self._real_queries(encoder.id, space)
        index, why = built(
            found.ids, found.vectors, dimension=encoder.identity.dimension + space.extra, wanted=self.kind, real=real
        )  # fmt: skip
        live = LiveIndex.over(index, wanted=self.kind, why=why, real=real)
        return self._view(encoder, live, found.newest, found.broken, space)

    def _view(
        self, encoder: EncoderRef, live: LiveIndex, change: int, damaged: frozenset[int], space: Space
    ) -> IndexView:
        heal = partial(self._healed, encoder, space)
        return IndexView(encoder, HealingIndex(live, heal), change, damaged, space)

    def _real_queries(self, encoder_id: int, space: Space) -> RealQueries:
        return lambda: space.queries_to_vectors(real_queries(self.catalog, encoder_id, QUERIES + JUDGES))

    def _replayed(self, view: IndexView) -> IndexView:
        found = self._read(view.encoder_id, view.space, view.change, view.damaged)
        if found.newest == view.change:
            return view
        gone = np.array([*found.removed, *found.broken], np.int64)
        live = view.index.live
        if len(found.ids) or len(gone):
            live = live.updated(found.ids, found.vectors, gone)
        still = (view.damaged - set(found.ids.tolist()) - set(found.removed)) | found.broken
        return replace(view, index=view.index.over(live), change=found.newest, damaged=frozenset(still))

    def _read(self, encoder_id: int, space: Space, change: int, known: frozenset[int]) -> _Read:
        """What was committed after a change. Models already ``known`` to be damaged are not warned of again."""
        ids, means, removed, damaged, newest = self.catalog.means_since(encoder_id, change)
        vectors = models_to_vectors(self.catalog, encoder_id, space, ids, means)
        finite = np.isfinite(vectors).all(axis=1)
        broken = frozenset({*damaged, *ids[~finite].tolist()})
        for model_id in broken - known:
            log.warning("model id %d is left out of the index: its stored statistics are damaged", model_id)
        if not finite.all():
            ids, vectors = ids[finite], vectors[finite]
        return _Read(ids, vectors, removed, broken, newest)

    def _folded(self, view: IndexView) -> IndexView:
        """Fold the writes in: at once where that is quick, else behind the searches, which go on meanwhile."""
        key = (view.encoder_id, view.space.key)
        live = view.index.live
        if len(live.base) < LARGE:
            if live.displaced:
                self._published.pop(key, None)  # its snapshot is the GPU's
            view = replace(view, index=view.index.over(live.compacted()))
            self._views[key] = view
        elif key not in self._folding:
            thread = threading.Thread(target=self._fold, args=(view, live), name="fold index", daemon=True)
            self._folding[key] = thread
            thread.start()
        return view

    def _fold(self, began: IndexView, since: LiveIndex) -> None:
        key = (began.encoder_id, began.space.key)
        try:
            try:
                folded = since.compacted()
            except DamagedIndex as error:
                self._healed(began.encoder, began.space, since, error)
                return
            with self._locks[key]:
                view = self._views.get(key)
                if view is None or view.index.live.base is not since.base:
                    return  # rebuilt meanwhile
                live = view.index.live.carried(since, folded)
                self._views[key] = replace(view, index=view.index.over(live))
                if since.displaced:
                    self._published.pop(key, None)  # its snapshot is the GPU's
        except Exception:  # a thread of its own: nobody else would hear of it, and the view is good as it is
            log.exception("writes could not be folded into the index %s", self.folder(began.identity, key[1]))
        finally:
            self._folding.pop(key, None)

    def wait(self) -> None:
        """Until no writes are being folded in."""
        for thread in list(self._folding.values()):
            thread.join()

    def _publish(self, view: IndexView) -> None:
        index = view.index.live.compacted()
        manifest = snapshots.publish(
            self.folder(view.identity, view.space.key),
            index.base,
            why=index.why,
            collection=self._collection,
            encoder=view.identity.name,
            fingerprint=view.identity.fingerprint,
            space=view.space.key,
            version=view.space.version,
            change=view.change,
            dimension=view.identity.dimension + view.space.extra,
        )
        key = (view.encoder_id, view.space.key)
        self._published[key] = (view.space.version, view.change)
        if index.base.mapped:  # from the file, what has been written need not stay in memory
            try:
                base = snapshots.load(self.folder(view.identity, view.space.key), manifest)
            except CorruptData as error:  # another process has published meanwhile, and removed it
                log.info("%s", error)
                return
            base.refused = index.base.refused
            self._views[key] = replace(view, index=view.index.over(replace(index, base=base)))


def models_to_vectors(
    catalog: Catalog, encoder_id: int, space: Space, ids: Int64, means: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A space's vectors ``(n, d + extra)`` of models with stored means ``(n, d)``, a block at a time.

    A row is NaN where the model's mean is damaged, or its covariance, where the space needs that.
    """
    vectors = np.full((len(ids), means.shape[1] + space.extra), np.nan, np.float32)
    if space.statistics_to_vectors is None:
        for start in range(0, len(means), BLOCK):
            vectors[start : start + BLOCK] = space.means_to_vectors(unit(means[start : start + BLOCK]))
        return vectors
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
