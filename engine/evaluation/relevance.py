"""Which models are relevant to a query: those that share a tag with a right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def tags_to_relevant(tags: Mapping[int, tuple[str, ...]], right: Iterable[Int64]) -> tuple[Int64, ...]:
    """For each query's ``right`` models ``(r,)`` the ids ``(GT,)``, ascending, of the models that share a tag with any.

    ``tags`` holds every model that can be found. A model with a tag is relevant to itself; one without has none.
    """
    by_tag: dict[str, list[int]] = {}
    for model_id, own in tags.items():
        for tag in own:
            by_tag.setdefault(tag, []).append(model_id)
    sharing: dict[frozenset[str], Int64] = {}  # queries with the same tags share one array
    relevant = []
    for own_models in right:
        key = frozenset(tag for model_id in own_models.tolist() for tag in tags[model_id])
        if key not in sharing:
            sharing[key] = np.unique(np.array([i for tag in key for i in by_tag[tag]], np.int64))
        relevant.append(sharing[key])
    return tuple(relevant)
