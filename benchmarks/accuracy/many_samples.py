"""Does it help to draw more than 500 samples? The models that have 2 400, with statistics from fewer and from all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.accuracy import beyond, methods
from benchmarks.accuracy.judge import Int64, accuracy, compare, scores_to_ranks
from benchmarks.accuracy.load import Float32, Models, Queries
from benchmarks.accuracy.tables import Table, to_data
from engine.evaluation.figures import in_points, with_interval

COUNTS = (100, 500, 1000, 2400)
KEPT = 500
"""Samples that models have which were not drawn at length; the gain of more is counted from there."""


def first_of_many(models: Models, count: int) -> tuple[Float32, ...]:
    """Features of each model, of those that have ``max(COUNTS)`` the first ``count`` alone."""
    return tuple(rows[:count] if len(rows) >= max(COUNTS) else rows for rows in models.features)


def estimators(features: tuple[Float32, ...], queries: Float32, weight: float, scale: float) -> dict[str, Float32]:
    """Scores ``(q, n)`` by name; ``weight`` is toward the pooled covariance."""
    moments = methods.features_to_moments(features)
    density = lambda covariance: methods.gaussian_density(queries, moments.mean, covariance)  # noqa: E731
    return {
        "first moment": methods.first_moment(queries, moments),
        "density, S + εI": density(methods.with_epsilon(moments.covariance)),
        "density, toward pooled": density(beyond.toward_pooled(moments, weight)),
        "Monte-Carlo": methods.from_samples(queries, features, methods.monte_carlo(scale)),
    }


def many_samples(collections: Mapping[str, Models], asked: Queries, weight: float) -> Table:
    """In-sample image top-1 of the models with many samples among each collection, by their number of samples."""
    table = Table(
        "accuracy_samples_many", "More than 500 samples",
        "Top-1 in per cent, with 95 % intervals over models, of in-sample images by the models that have "
        f"{max(COUNTS)} samples, with these models' statistics from the first {min(COUNTS)} to all of them; the other "
        f"models keep all they have ({KEPT}). Few of them are in *main*; of those among the whole zoo, the others are "
        f"of *synthetic*, on which the weight toward the pooled covariance, {weight}, was chosen.",
        ("among", "estimator", *map(str, COUNTS), f"{max(COUNTS)} less {KEPT}"),
    )  # fmt: skip
    for name, models in collections.items():
        many = [own for own, rows in zip(models.names, models.features, strict=True) if len(rows) >= max(COUNTS)]
        if not many:  # a quick zoo
            continue
        queries = _of(asked, many)
        targets = queries.targets(models)
        ranks: dict[str, dict[int, Int64]] = {}
        for count in COUNTS:
            features = first_of_many(models, count)
            for method, scores in estimators(features, queries.features, weight, models.scale).items():
                ranks.setdefault(method, {})[count] = scores_to_ranks(scores, targets)
        for method, by_count in ranks.items():
            tops = {count: accuracy(own, queries.owners, 1) for count, own in by_count.items()}
            gain = compare(by_count[max(COUNTS)], by_count[KEPT], queries.owners)
            table.add(
                (f"{name}: {len(many)} of {len(models)}", method, *map(with_interval, tops.values()), in_points(gain)),
                among=name, models=len(many), collection=len(models), queries=len(queries), estimator=method,
                top1={str(count): to_data(top) for count, top in tops.items()}, gain=to_data(gain),
            )  # fmt: skip
    return table


def _of(queries: Queries, names: Sequence[str]) -> Queries:
    """The queries of models of these names."""
    return queries.take(np.flatnonzero([bool(set(right) & set(names)) for right in queries.right]).tolist())
