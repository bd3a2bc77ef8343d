"""Which kind of index a collection gets, and why."""

from __future__ import annotations

import numpy as np

from engine.index.base import FirstMomentIndex
from engine.index.flat import FlatIndex
from engine.index.panorama import PanoramaIndex, gathers

AUTO = "auto"
KINDS = {kind.kind: kind for kind in (FlatIndex, PanoramaIndex)}
WORTH = 10_000
"""Models from which on leaving off early is worth its set-up."""
GATHERED = 0.4
"""Share of the second moment in the first eighth of the directions, from which on it leaves off early enough."""


def suited(index: FirstMomentIndex, wanted: str = AUTO) -> FirstMomentIndex:
    """The same vectors in the kind that is wanted, or under ``auto`` in the one that suits them."""
    if not isinstance(index, FlatIndex):
        return index
    kind = wanted if wanted != AUTO else reason(index)[0]
    if kind == index.kind:
        return index
    if kind == PanoramaIndex.kind:
        return PanoramaIndex.of(index)
    return FlatIndex.build(index.ids, np.concatenate(list(index.blocks())), dimension=index.dimension)


def reason(index: FlatIndex) -> tuple[str, str]:
    """The kind that suits these vectors, and why in words."""
    if len(index) < WORTH:
        return FlatIndex.kind, f"{len(index)} models are fewer than {WORTH}: all of them are read"
    share = gathers(index)
    said = f"the first eighth of the directions holds {100 * share:.0f} % of {len(index)} models' second moment"
    if share < GATHERED:
        return FlatIndex.kind, f"{said}, under {100 * GATHERED:.0f} %: no model can be dropped early"
    return PanoramaIndex.kind, f"{said}: most models are dropped early, exactly"
