"""Which kind of index a collection gets, and why."""

from __future__ import annotations

import numpy as np

from engine.index.base import FirstMomentIndex, Float32, Int64
from engine.index.device import any_device, find_device, require_device
from engine.index.flat import FlatIndex
from engine.index.gpu import GpuIndex
from engine.index.quantized.index import QuantizedIndex
from engine.index.quantized.query_families import RealQueries

AUTO = "auto"
ASKED = "the setting index_kind says so"
KINDS: dict[str, type[FirstMomentIndex]] = {kind.kind: kind for kind in (FlatIndex, QuantizedIndex, GpuIndex)}
WORTH = 10_000
"""Models from which on a GPU is worth asking."""
MANY = 20_000
"""Models from which on codes are worth their training: reading all vectors takes some milliseconds. See "Decisions" in
docs/architecture.md."""


def suited(
    index: FirstMomentIndex, wanted: str = AUTO, real: RealQueries | None = None
) -> tuple[FirstMomentIndex, str]:  # fmt: skip
    """The same vectors in the kind that is wanted, or under ``auto`` in the one that suits them; and why.

    ``real`` gives queries that the collection may be asked, for kinds that are tuned.
    A GPU serves only once it has answered its probes as the exact index does. Where it did not, here or before
    (``index.refused``), the kind that suits the processor takes its place, and why says so.

    Raises:
        MissingDependency: ``gpu`` is wanted, and there is none that FAISS or torch can use.
    """
    if isinstance(index, GpuIndex):
        index = index.flat_again()
    refused = index.refused
    if not refused and (wanted == GpuIndex.kind or (wanted == AUTO and len(index) >= WORTH)):
        make = require_device() if wanted == GpuIndex.kind else find_device()
        if make is not None:
            flat = index if isinstance(index, FlatIndex) else _flat(index)
            card = GpuIndex.proven(flat, make)
            if not card.refused:
                why = f"there is a GPU, and {len(index)} models are {WORTH} or more"
                return card, why if wanted == AUTO else ASKED
            refused = card.refused
    own = wanted in (AUTO, GpuIndex.kind)
    kind, why = reason(len(index)) if own else (wanted, ASKED)
    made = index if kind == index.kind else _of_kind(kind, index.ids, index.vectors(index.ids), index.dimension, real)
    made.refused = refused
    return made, f"{refused}; {why}" if refused and own else why


def _of_kind(
    kind: str, ids: Int64, vectors: Float32, dimension: int, real: RealQueries | None
) -> FirstMomentIndex:  # fmt: skip
    if kind == QuantizedIndex.kind:
        return QuantizedIndex.build(ids, vectors, dimension=dimension, real=real)
    return KINDS[kind].build(ids, vectors, dimension=dimension)


def reopened(
    index: FirstMomentIndex, why: str, wanted: str = AUTO, real: RealQueries | None = None
) -> tuple[FirstMomentIndex, str]:  # fmt: skip
    """What a snapshot held, as it is to serve, and why; ``why`` is the snapshot's.

    What lay on a GPU is put on one again, and that has to prove itself again. Where it does not, what comes back serves
    at once, on the processor, and is not what suits that: see ``LiveIndex.displaced``.

    Raises:
        MissingDependency: ``gpu`` is wanted, and there is none that FAISS or torch can use.
    """
    if not isinstance(index, GpuIndex) or wanted not in (AUTO, GpuIndex.kind):
        return (index, why) if wanted == AUTO else suited(index, wanted, real)
    card = GpuIndex.proven(index.flat, require_device() if wanted == GpuIndex.kind else any_device)
    return card, card.refused or why


def reason(models: int) -> tuple[str, str]:
    """The kind that suits so many models on a processor, and why in words."""
    if models < MANY:
        return FlatIndex.kind, f"{models} models are fewer than {MANY}: all of them are read"
    return QuantizedIndex.kind, f"{models} models are {MANY} or more: short codes of the nearest cells are read"


def built(
    ids: Int64, vectors: Float32, *, dimension: int, wanted: str = AUTO, real: RealQueries | None = None
) -> tuple[FirstMomentIndex, str]:  # fmt: skip
    """An index of vectors ``(n, d)`` under ``ids`` ``(n,)``, of the kind that is wanted or suits them; and why.

    See ``suited`` for ``real``.
    """
    decided: tuple[str, str] | None = (wanted, ASKED)
    if wanted == AUTO:
        decided = reason(len(ids)) if len(ids) < WORTH or find_device() is None else None
    if decided is not None and decided[0] == QuantizedIndex.kind:  # without a flat index in between: it is as large
        return _of_kind(decided[0], ids, vectors, dimension, real), decided[1]
    return suited(FlatIndex.build(ids, vectors, dimension=dimension), wanted, real)


def _flat(index: FirstMomentIndex) -> FlatIndex:
    return FlatIndex.build(index.ids, index.vectors(index.ids), dimension=index.dimension)


def no_models(dimension: int) -> FlatIndex:
    """An index of nothing."""
    return FlatIndex.build(np.empty(0, np.int64), np.empty((0, dimension), np.float32), dimension=dimension)
