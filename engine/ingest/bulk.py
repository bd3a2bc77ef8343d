"""Arrays of ready-made moments to models: checked block by block, written block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DuplicateName, InvalidInput, InvalidStatistics
from engine.numbers import checked_whole
from engine.records import MOST_SAMPLES, Statistics
from engine.statistics import LARGEST, checked_statistics, unpack_symmetric
from engine.storage.bulk import Block, BulkCounts
from engine.storage.details import checked_details, checked_name

BLOCK_MODELS = 10_000
BLOCK_BYTES = 256 * 2**20
"""What a transaction writes at most: so many models, or so many bytes of moments."""


def arrays_to_blocks(
    names: Sequence[str],
    means: NDArray[Any],
    covariances: NDArray[Any] | None,
    samples: int | Sequence[int] | NDArray[np.integer[Any]],
    tags: Sequence[Any] | None,
    epsilon: float,
) -> Iterator[Block]:
    """Models a transaction at a time; see ``Engine.ingest_statistics``.

    Names, shapes, means, counts and tags are checked before the first block, covariances with their block.

    Raises:
        InvalidInput, DuplicateName, InvalidStatistics: naming the first model that is wrong.
    """
    names = _checked_names(names)
    means = _checked_means(names, means)
    n, d = means.shape
    packed = _checked_shape(covariances, n, d)
    counts = _checked_counts(names, samples)
    labels = _checked_tags(names, tags)
    return _blocks(names, means, covariances, packed, counts, labels, epsilon)


def put_blocks(
    blocks: Iterator[Block],
    put: Callable[[Block], BulkCounts],
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> BulkCounts:
    """Write blocks one after the other; what was written stays when a later one is wrong."""
    counts, done = BulkCounts(), 0
    for block in blocks:
        counts += put(block)
        done += len(block.names)
        if on_progress is not None:
            on_progress(done, total)
    return counts


def _blocks(
    names: list[str],
    means: NDArray[np.float32],
    covariances: NDArray[Any] | None,
    packed: bool,
    counts: list[int],
    labels: list[tuple[str, ...] | None],
    epsilon: float,
) -> Iterator[Block]:
    each = means.shape[1] * 4 + (0 if covariances is None else means.shape[1] * (means.shape[1] + 1) * 2)
    size = max(min(BLOCK_MODELS, BLOCK_BYTES // max(each, 1)), 1)
    for start in range(0, len(names), size):
        part = slice(start, min(start + size, len(names)))
        own: list[NDArray[np.float32] | None] = [None] * (part.stop - start)
        epsilons = [epsilon] * (part.stop - start)
        if covariances is not None:
            for place, i in enumerate(range(start, part.stop)):
                checked = _checked_moments(names[i], means[i], covariances[i], packed, epsilon, counts[i])
                own[place], epsilons[place] = checked.covariance, checked.epsilon
        digests = _digests(means[part], own, counts[part], epsilon)
        yield Block(names[part], means[part], own, epsilons, counts[part], digests, labels[part])


def _checked_moments(
    name: str, mean: NDArray[np.float32], covariance: NDArray[Any], packed: bool, epsilon: float, samples: int
) -> Statistics:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        full = unpack_symmetric(covariance, len(mean)) if packed else covariance
    try:
        return checked_statistics(mean, full, epsilon=epsilon, samples=samples, rounded_to=covariance.dtype)
    except InvalidStatistics as error:
        raise InvalidStatistics(f"{name}: {error.message}", hint=error.hint) from error


def _digests(
    means: NDArray[np.float32], covariances: list[NDArray[np.float32] | None], counts: list[int], epsilon: float
) -> list[str]:
    """What tells whether a model's moments are those that are there."""
    begun = {
        samples: hashlib.sha256(f"statistics {means.shape[1]} {samples} {epsilon}".encode()) for samples in set(counts)
    }
    found = []
    for mean, covariance, samples in zip(means, covariances, counts, strict=True):
        digest = begun[samples].copy()
        digest.update(mean.tobytes())
        if covariance is not None:
            digest.update(covariance.tobytes())
        found.append(digest.hexdigest())
    return found


def _checked_names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise InvalidInput(f"names are a list, got the text {names[:40]!r}")
    found = [checked_name(str(name) if isinstance(name, np.str_) else name) for name in names]
    seen: set[str] = set()
    for name in found:
        if name in seen:
            raise DuplicateName(f"the name {name!r} is there more than once", hint="give each model one row")
        seen.add(name)
    return found


def _checked_means(names: list[str], means: NDArray[Any]) -> NDArray[np.float32]:
    given = np.asarray(means)
    if given.ndim != 2 or given.dtype.kind != "f" or len(given) != len(names) or not given.shape[1]:
        raise InvalidStatistics(
            f"means must be a floating array of shape ({len(names)}, d), got {given.dtype} {given.shape}",
            hint="one row a name",
        )
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(given, np.float32)
    highest, lowest = rounded.max(axis=1), rounded.min(axis=1)
    usable = (highest <= LARGEST) & (lowest >= -LARGEST)  # a NaN compares as false
    if not usable.all():
        name = names[int(np.argmin(usable))]
        raise InvalidStatistics(f"{name}: the mean is not finite in float32, or has a number beyond {LARGEST:g}")
    some = (highest != 0) | (lowest != 0)
    if not some.all():
        raise InvalidStatistics(f"{names[int(np.argmin(some))]}: the mean is zero, so it has no direction to search by")
    return rounded


def _checked_shape(covariances: NDArray[Any] | None, n: int, d: int) -> bool:
    """Whether they are packed."""
    if covariances is None:
        return False
    shapes = {(n, d, d): False, (n, d * (d + 1) // 2): True}
    if covariances.shape not in shapes or covariances.dtype.kind != "f":
        raise InvalidStatistics(
            f"covariances must be a floating array of shape {' or '.join(map(str, shapes))}, "
            f"got {covariances.dtype} {covariances.shape}",
            hint="d (d + 1) / 2 numbers are a lower triangle, row by row; leave covariances out to give means alone",
        )
    return shapes[covariances.shape]


def _checked_counts(names: list[str], samples: int | Sequence[int] | NDArray[np.integer[Any]]) -> list[int]:
    given = np.asarray(samples)
    if given.dtype.kind not in "iu" or given.shape not in ((), (len(names),)):
        raise InvalidStatistics(
            f"samples must be a whole number or {len(names)} of them, got {given.dtype} {given.shape}"
        )
    counts = [int(count) for count in np.broadcast_to(given, (len(names),))]
    for name, count in zip(names, counts, strict=True):
        checked_whole(count, f"{name}: the sample count", 1, MOST_SAMPLES, error=InvalidStatistics)
    return counts


def _checked_tags(names: list[str], tags: Sequence[Any] | None) -> list[tuple[str, ...] | None]:
    if tags is None:
        return [None] * len(names)
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidInput(f"tags are a list, got {tags!r:.40}")
    given = list(tags)
    if all(isinstance(tag, str) for tag in given):  # the same for all
        return [tuple(checked_details({"tags": given})["tags"])] * len(names)
    if len(given) != len(names):
        raise InvalidInput(f"there are {len(given)} lists of tags for {len(names)} models", hint="one list a model")
    return [_own_tags(name, own) for name, own in zip(names, given, strict=True)]


def _own_tags(name: str, own: Any) -> tuple[str, ...] | None:
    if own is None:
        return None
    if isinstance(own, (str, bytes, Mapping)) or not isinstance(own, Iterable):
        raise InvalidInput(f"{name}: tags are a list of texts, got {own!r:.40}")
    try:
        return tuple(checked_details({"tags": list(own)})["tags"])
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.message}", hint=error.hint) from error
