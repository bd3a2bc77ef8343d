"""Which kind of index a collection gets, and why."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from engine.index.base import FirstMomentIndex, Float32, Int64
from engine.index.flat import FlatIndex
from engine.index.gpu import GpuIndex, has_gpu
from engine.index.graph import GraphIndex
from engine.index.panorama import PanoramaIndex, gathers
from engine.index.quantized import QuantizedIndex

AUTO = "auto"
KINDS: dict[str, type[FirstMomentIndex]] = {
    kind.kind: kind for kind in (FlatIndex, PanoramaIndex, QuantizedIndex, GraphIndex, GpuIndex)
}
WORTH = 10_000
"""Models from which on leaving off early is worth its set-up."""
MANY = 50_000
"""Models from which on reading all of them takes longer than a millisecond, and codes are worth their training."""
GATHERED = 0.4
"""Share of the second moment in the first eighth of the directions, from which on it leaves off early enough."""


def suited(index: FirstMomentIndex, wanted: str = AUTO) -> tuple[FirstMomentIndex, str]:
    """The same vectors in the kind that is wanted, or under ``auto`` in the one that suits them; and why."""
    kind, why = reason(index) if wanted == AUTO else (wanted, _said(wanted, len(index)))
    if kind == index.kind:
        return index, why
    if kind == PanoramaIndex.kind and isinstance(index, FlatIndex):
        return PanoramaIndex.of(index), why
    return KINDS[kind].build(index.ids, index.vectors(index.ids), dimension=index.dimension), why


def reason(index: FirstMomentIndex) -> tuple[str, str]:
    """The kind that suits these vectors, and why in words."""
    n = len(index)
    if n < WORTH:
        return FlatIndex.kind, f"{n} models are fewer than {WORTH}: all of them are read"
    if has_gpu():
        return GpuIndex.kind, f"there is a GPU, and {n} models are {WORTH} or more"
    missing = _uncompiled()
    if n >= MANY and not missing:
        return QuantizedIndex.kind, _said(AUTO, n)
    share = gathers(index)
    said = f"the first eighth of the directions holds {100 * share:.0f} % of {n} models' second moment"
    if missing and n >= MANY:
        said = f"{' and '.join(missing)} cannot be imported, so that there are no codes; {said}"
    if share < GATHERED:
        return FlatIndex.kind, f"{said}, under {100 * GATHERED:.0f} %: no model can be dropped early"
    return PanoramaIndex.kind, f"{said}: most models are dropped early, exactly"


def built(
    ids: Int64, vectors: Float32, *, dimension: int, wanted: str = AUTO
) -> tuple[FirstMomentIndex, str]:  # fmt: skip
    """An index of vectors ``(n, d)`` under ``ids`` ``(n,)``, of the kind that is wanted or suits them; and why."""
    coded = wanted == AUTO and len(ids) >= MANY and not _uncompiled() and not has_gpu()
    if wanted == QuantizedIndex.kind or coded:
        why = _said(wanted, len(ids))
        return QuantizedIndex.build(ids, vectors, dimension=dimension), why
    return suited(FlatIndex.build(ids, vectors, dimension=dimension), wanted)


def _uncompiled() -> list[str]:
    """What is missing of what compiles the loops over codes."""
    return [name for name in ("numba", "llvmlite") if find_spec(name) is None]


def _said(wanted: str, n: int) -> str:
    if wanted != AUTO:
        return "the setting index_kind says so"
    return f"{n} models are {MANY} or more: short codes of the nearest cells are read"


def no_models(dimension: int) -> FlatIndex:
    """An index of nothing."""
    return FlatIndex.build(np.empty(0, np.int64), np.empty((0, dimension), np.float32), dimension=dimension)
