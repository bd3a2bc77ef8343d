"""Queries that a collection may really be asked, drawn from what it keeps of its own models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.scores import unit
from engine.scores.gaussian_density import covariance_to_cholesky, shrunk_covariance
from engine.storage import Catalog

Float32 = NDArray[np.float32]
AT_ONCE = 32
"""Models whose covariances or samples are in memory at a time."""


def real_queries(catalog: Catalog, encoder_id: int, count: int, *, seed: int = 0) -> Float32:
    """One picture's feature of each of m ≤ ``count`` models, at random: ``(m, d)`` of unit norm.

    It is one of the model's kept samples, or a draw from its Gaussian where no samples are kept. Models that have
    neither, or whose statistics are damaged, are passed over.
    """
    random = np.random.default_rng(seed)
    ids = np.sort(np.fromiter(catalog.all_changes(encoder_id), np.int64))
    chosen = random.permutation(ids)[:count].tolist()
    rows: list[Float32] = []
    for start in range(0, len(chosen), AT_ONCE):
        block = chosen[start : start + AT_ONCE]
        samples, _ = catalog.sample_features(encoder_id, block)
        stored, _ = catalog.statistics(encoder_id, [model_id for model_id in block if model_id not in samples])
        for model_id in block:
            row = None
            if model_id in samples and len(samples[model_id]):
                row = samples[model_id][random.integers(len(samples[model_id]))]
            elif model_id in stored:
                row = statistics_to_draw(stored[model_id].statistics, random)
            if row is not None and np.isfinite(row).all() and row.any():
                rows.append(row)
    return unit(np.stack(rows)) if rows else np.empty((0, catalog.encoders()[encoder_id].dimension), np.float32)


def statistics_to_draw(statistics: Statistics, random: np.random.Generator) -> Float32 | None:
    """A draw ``(d,)`` from N(μ, S + εI), or None where there is no covariance that can be factorised."""
    noise = random.standard_normal(len(statistics.mean))
    if statistics.covariance is None:
        return None
    try:
        lower = covariance_to_cholesky(shrunk_covariance(statistics, None), statistics.epsilon)
    except InvalidStatistics:
        return None
    row = np.asarray(statistics.mean + lower @ noise, np.float32)
    return row if np.isfinite(row).all() and row.any() else None
