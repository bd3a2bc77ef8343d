"""Concepts that are held out in name only, and how to leave them out of the figures.

Splitting by label is not enough: ``woman golfing`` is ``man golfing`` with longer hair, and some artists draw two
labels with one and the same picture (``UP! button``, ``upwards button``).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from benchmarks.compact.captions import Concept, slug
from engine.scores import unit

PEOPLE = re.compile(r"\b(wo)?m[ae]n\b|\b(person|people|adult|boy|girl|child|older|face)s?\b")
SAME_PICTURE = 0.9999
"""Cosine of backbone features from which two pictures count as one: they are kept in float16."""


def label_to_family(label: str) -> str:
    """``woman golfing`` and ``person golfing`` to ``golfing``, ``cat face`` to ``cat``: who is drawn does not count."""
    return slug(PEOPLE.sub("", label.lower()))


def drop_siblings(
    concepts: list[Concept],
    plain: NDArray[np.float16],
    there: NDArray[np.bool_],
    held: NDArray[np.int64],
    trained: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Those of the ``held`` concepts of which training saw neither the family nor a picture.

    ``plain`` ``(concept, artist, f)`` are the features of the undistorted pictures, ``there`` ``(concept, artist)``
    their mask; ``held`` and ``trained`` are indices of concepts.
    """
    families = {label_to_family(concepts[i].label) for i in trained}
    seen = np.array([label_to_family(concepts[i].label) in families for i in held], bool)
    for artist in range(there.shape[1]):
        own, known = np.flatnonzero(there[held, artist]), trained[there[trained, artist]]
        if not len(own) or not len(known):
            continue
        one, other = (unit(plain[rows, artist].astype(np.float32)) for rows in (held[own], known))
        seen[own] |= (one @ other.T).max(axis=1) > SAME_PICTURE
    return held[~seen]
