"""A collection's own whitening: fitted to its statistics, stored as a transform, and fitted again when they change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from engine.errors import InvalidStatistics, MissingStatistics
from engine.records import EncoderIdentity, Statistics, Transform
from engine.scores import fit_whitening
from engine.scores.whitened_first_moment import SHRINKAGE
from engine.search.spaces import WHITENED
from engine.storage import Catalog, Transforms

MOST = 1024
"""Models that are read, spread evenly by age: many times over what a pooled covariance needs."""
BLOCK = 64  # models whose covariances are in memory at a time


def active_whitening(transforms: Transforms, encoder_id: int) -> Transform | None:
    """The whitening that searches use, if there is one."""
    return next((one for one in transforms.active(encoder_id) if one.method == WHITENED), None)


def collection_to_whitening(
    catalog: Catalog, transforms: Transforms, encoder_id: int, identity: EncoderIdentity
) -> Transform:
    """Fit a whitening to the statistics as they are, and store it in place of the one before.

    Raises:
        MissingStatistics: there are fewer than two models, or none with a covariance.
    """
    changes = catalog.all_changes(encoder_id)
    ids = list(changes)[:: max(-(-len(changes) // MOST), 1)]
    try:
        whitening = fit_whitening(_statistics(catalog, encoder_id, ids))
    except InvalidStatistics as error:
        raise MissingStatistics(
            f"{identity.name} has no whitening here: {error.message}",
            hint="search with method first_moment, or ingest more models, from samples",
        ) from error
    report = {
        "models": len(changes),
        "read": len(ids),
        "shrinkage": SHRINKAGE,
        "statistics": changes_to_digest(changes),
        "fingerprint": identity.fingerprint,
    }
    return transforms.add(
        encoder_id, WHITENED, "any", "whitening", whitening.arrays(), report, activate=True, replace=True
    )


def is_fitted_to(whitening: Transform, catalog: Catalog) -> bool:
    """Whether the statistics are still those that it was fitted to."""
    return bool(whitening.report.get("statistics") == changes_to_digest(catalog.all_changes(whitening.encoder_id)))


def is_outgrown(whitening: Transform, catalog: Catalog) -> bool:
    """Whether the collection has twice as many models as it was fitted to: then it says little of them."""
    return bool(catalog.statistics_count(whitening.encoder_id) >= 2 * int(whitening.report.get("models", 0)))


def changes_to_digest(changes: Mapping[int, int]) -> str:
    """What a collection is made of, as SHA-256: its models' ids and the changes that wrote their statistics."""
    pairs = np.array(sorted(changes.items()), "<i8")
    return hashlib.sha256(pairs.tobytes()).hexdigest()


def _statistics(catalog: Catalog, encoder_id: int, ids: list[int]) -> Iterator[Statistics]:
    for start in range(0, len(ids), BLOCK):
        good, _ = catalog.statistics(encoder_id, ids[start : start + BLOCK])
        for item in good.values():
            finite = item.statistics.covariance is None or np.isfinite(item.statistics.covariance).all()
            if finite and np.isfinite(item.statistics.mean).all() and np.any(item.statistics.mean):
                yield item.statistics
