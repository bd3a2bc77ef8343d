"""A collection's own whitening: fitted to its statistics, stored as a transform, and fitted again when they change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from engine.errors import InvalidStatistics, MissingStatistics
from engine.records import EncoderRef, Statistics, Transform
from engine.scores import fit_whitening
from engine.scores.whitened_first_moment import SHRINKAGE
from engine.search.spaces import WHITENED
from engine.storage import Catalog, Transforms

MOST = 1024
"""Models that are read, spread evenly by age: many times over what a pooled covariance needs."""
BLOCK = 64  # models whose covariances are in memory at a time


def collection_to_whitening(catalog: Catalog, transforms: Transforms, encoder: EncoderRef) -> Transform:
    """Fit a whitening to the statistics as they are, and store it in place of the one before.

    Raises:
        MissingStatistics: there are fewer than two models, or none with a covariance.
    """
    changes = catalog.all_changes(encoder.id)
    ids = list(changes)[:: max(-(-len(changes) // MOST), 1)]
    try:
        whitening = fit_whitening(_statistics(catalog, encoder.id, ids))
    except InvalidStatistics as error:
        raise MissingStatistics(
            f"{encoder.identity.name} has no whitening here: {error.message}",
            hint="search with method first_moment, or ingest more models, from samples",
        ) from error
    report = {
        "models": len(changes),
        "read": len(ids),
        "shrinkage": SHRINKAGE,
        "statistics": changes_to_digest(changes),
        "fingerprint": encoder.identity.fingerprint,
    }
    return transforms.add(
        encoder.id, WHITENED, "any", "whitening", whitening.arrays(), report, activate=True, replace=True
    )


def is_fitted_to(whitening: Transform, catalog: Catalog) -> bool:
    """Whether the statistics are still those that it was fitted to."""
    return bool(whitening.report.get("statistics") == changes_to_digest(catalog.all_changes(whitening.encoder_id)))


def is_outgrown(whitening: Transform, count: int) -> bool:
    """Whether a collection of so many models has twice as many as it was fitted to: then it says little of them."""
    return bool(count >= 2 * int(whitening.report.get("models", 0)))


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
