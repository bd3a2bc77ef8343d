"""Where a collection's models lie on a map of it."""

from __future__ import annotations

from pathlib import Path

from engine.records import EncoderIdentity
from engine.search.map import MAP, PCA, CollectionMap, followed, index_to_map, load_map, save_map
from engine.search.views import IndexViews
from engine.session import Session


class MapService:
    """Makes the map of a collection, and keeps it beside the index."""

    def __init__(self, session: Session, views: IndexViews) -> None:
        self._session = session
        self._views = views

    def map(self, *, encoder: str | None = None) -> CollectionMap:
        """Where the models lie on a map of the collection.

        The one that ``build_map`` has made, with models that came since put between their nearest neighbours; where
        none was made, one by principal components.

        Raises:
            EncoderNotFound
        """
        ref = self._session.encoder(encoder)
        view = self._views.current(ref)
        known = load_map(self._file(ref.identity))
        found = None if known is None else followed(known, view.index)
        return index_to_map(view.index, view.change, PCA) if found is None or not len(found.ids) else found

    def build_map(self, method: str = "auto", *, encoder: str | None = None) -> CollectionMap:
        """Make the map anew and keep it beside the index.

        Args:
            method: ``umap`` (the package umap-learn), ``pca``, or ``auto``: UMAP where it is installed.

        Raises:
            InvalidInput, MissingDependency, EncoderNotFound
            DiskFull, StorageError: it cannot be kept.
        """
        ref = self._session.encoder(encoder)
        view = self._views.current(ref)
        made = index_to_map(view.index, view.change, method)
        save_map(self._file(ref.identity), made)
        return made

    def _file(self, identity: EncoderIdentity) -> Path:
        return self._views.beside(identity, MAP)
