"""Looking a collection over: what there is, where it lies on a map, how far models are from one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine._searching import Searching
from engine.errors import InvalidQuery
from engine.numbers import checked_whole
from engine.records import EncoderIdentity
from engine.search.similar import models_to_distances
from engine.storage.facets import Facets, Label, facet_counts, model_labels

if TYPE_CHECKING:
    from engine.search.map import CollectionMap

MOST_COMPARED = 100


class Exploring(Searching):
    """The side of a collection that shows what there is."""

    def facets(self, limit: int = 50) -> Facets:
        """The commonest tags, kinds, authors and licences: by field, up to ``limit`` values with their counts.

        Raises:
            InvalidInput: ``limit`` is not a whole number from 1 on.
        """
        return facet_counts(self._database, checked_whole(limit, "the limit", 1))

    def labels(self) -> dict[int, Label]:
        """Name, kind and tags of every model, by id."""
        return model_labels(self._database)

    def map(self, *, encoder: str | None = None) -> CollectionMap:
        """Where the models lie on a map of the collection.

        The one that ``build_map`` has made, with models that came since put between their nearest neighbours; where
        none was made, one by principal components.

        Raises:
            EncoderNotFound
        """
        from engine.search.map import PCA, followed, index_to_map, load_map

        encoder_id, identity = self._searchable(encoder)
        view = self._views.current(encoder_id, identity)
        known = load_map(self._map_file(identity))
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
        from engine.search.map import index_to_map, save_map

        encoder_id, identity = self._searchable(encoder)
        view = self._views.current(encoder_id, identity)
        made = index_to_map(view.index, view.change, method)
        save_map(self._map_file(identity), made)
        return made

    def distances(self, names: Sequence[str], *, encoder: str | None = None) -> dict[str, NDArray[np.float64]]:
        """How far models are from one another: ``frechet`` (squared) and ``cosine`` of means, ``(n, n)`` float64 each.

        NaN where a model has no covariance, or no statistics under the encoder.

        Raises:
            ModelNotFound, EncoderNotFound
            InvalidQuery: no names, or more than 100.
        """
        if not 1 <= len(names) <= MOST_COMPARED:
            raise InvalidQuery(f"from 1 to {MOST_COMPARED} models are compared, got {len(names)}")
        encoder_id, _ = self._searchable(encoder)
        ids = [self._catalog.model(name).id for name in names]
        return models_to_distances(self._evidence, encoder_id, ids)

    def _map_file(self, identity: EncoderIdentity) -> Path:
        from engine.search.map import MAP

        return self._views.beside(identity, MAP)
