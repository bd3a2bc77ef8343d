"""What a collection holds: listing, describing and removing its models."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.filters import Where
from engine.numbers import LARGEST_SIZE, checked_whole
from engine.records import Model, Models, Thumbnail
from engine.session import Session
from engine.storage.facets import Facets, Label, facet_counts, model_labels
from engine.storage.paging import ModelPage, models_page


class BrowseService:
    """Lists and describes the models of one collection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def models(self, where: Where | None = None) -> Models:
        """Models that a filter admits, by name: a list whose ``remarks`` name values that no model has.

        Args:
            where: a filter, see ``engine.filters``.

        Raises:
            InvalidFilter
        """
        return self._session.catalog.models(where)

    def remarks(self, where: Where | None) -> tuple[str, ...]:
        """Sentences about values of a filter that no model has, with those that were perhaps meant.

        ``models``, ``page``, ``search`` and ``export_archive`` answer with them; arrays have no place for them.

        Raises:
            InvalidFilter
        """
        return self._session.catalog.remarks(where)

    def page(
        self, where: Where | None = None, *, sort: str = "name", limit: int = 100, cursor: str | None = None
    ) -> ModelPage:
        """Models that a filter admits, page by page: ``page.next`` is the cursor of the page that follows.

        Args:
            sort: ``name``, ``created_at`` or ``updated_at``; with a ``-`` before it, falling.

        Raises:
            InvalidFilter, InvalidInput
        """
        return models_page(self._session.database, where, sort=sort, limit=limit, cursor=cursor)

    def get(self, name: str) -> Model:
        """The model of that name.

        Raises:
            ModelNotFound
        """
        return self._session.catalog.model(name)

    def update(self, name: str, /, **changes: Any) -> Model:
        """Change a model's metadata: ``name`` (renames), ``tags``, ``description``, ``kind``, ``author`` ….

        Raises:
            ModelNotFound, DuplicateName, InvalidInput
        """
        return self._session.catalog.update(name, changes)

    def remove(self, name: str) -> None:
        """Remove a model and all its data.

        Raises:
            ModelNotFound
        """
        self._session.catalog.remove(name)

    def names(self, ids: Any) -> Any:
        """Names of models by their ids, in the shape of ``ids`` (a list, or nested lists); None where there is none."""
        array = np.asarray(ids, np.int64)
        known = self._session.catalog.names({int(i) for i in array.ravel() if i >= 0})
        named = np.empty(array.shape, object)
        for place, model_id in np.ndenumerate(array):
            named[place] = known.get(int(model_id))
        return named.tolist()

    def thumbnails(self, model: str | int) -> list[Thumbnail]:
        """A model's preview pictures, by its name, or by its id: none, then, where there is no such model.

        Their media types are those of their bytes; what is no WebP, PNG or JPEG is left out.

        Raises:
            ModelNotFound
        """
        from engine.samples.media import media_type

        if not isinstance(model, int):
            model = self._session.catalog.model(model).id
        found = self._session.catalog.thumbnails(model) if 0 <= model <= LARGEST_SIZE else []
        kinds = [media_type(one.data) for one in found]
        return [Thumbnail(one.data, kind) for one, kind in zip(found, kinds, strict=True) if kind is not None]

    def facets(self, limit: int = 50) -> Facets:
        """The commonest tags, kinds, authors and licences: by field, up to ``limit`` values with their counts.

        Raises:
            InvalidInput: ``limit`` is not a whole number from 1 on.
        """
        return facet_counts(self._session.database, checked_whole(limit, "the limit", 1))

    def labels(self) -> dict[int, Label]:
        """Name, kind and tags of every model, by id."""
        return model_labels(self._session.database)
