"""A hundred samples a model instead of all: what each estimator of the covariance loses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.accuracy import beyond, methods
from benchmarks.accuracy.further import Further, best_of, top1
from benchmarks.accuracy.load import Float32
from benchmarks.accuracy.papers import Scored
from benchmarks.accuracy.tables import Table
from engine.config import Settings
from engine.evaluation.figures import percent

FEW = 100
SUBSETS = 3
WEIGHTS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
PLAIN = "S + εI"
FLOOR = 1e-6
"""Added to Ledoit–Wolf's and OAS's covariances, which bring their own regularisation."""


def few_samples(all_: Further) -> Table:
    """In-sample image top-1 with all samples, and the mean over disjoint hundreds of them."""
    scored = {part: all_.scored(part, "image", "in-sample") for part in all_.parts}
    chosen = {count: _chosen_weight(all_, scored["synthetic"], count) for count in (None, FEW)}
    table = Table(
        "accuracy_few", "A hundred samples a model",
        f"In-sample image top-1 in per cent on *main*, with all samples and with {FEW} (mean over {SUBSETS} disjoint "
        f"sets of them). Losses in points: against the same estimator with all samples, and against {PLAIN} with all. "
        f"*Chosen*: the weight that did best on *synthetic* for that number of samples ({chosen[None]:g} for all, "
        f"{chosen[FEW]:g} for {FEW}).",
        ("estimator", "all", f"{FEW}", "loses", f"loses of {PLAIN}"),
    )  # fmt: skip
    tops: dict[str, list[float]] = {}
    sets: list[tuple[Float32, ...]] = [all_.parts["main"].features]
    sets += [tuple(rows[i * FEW : (i + 1) * FEW] for rows in sets[0]) for i in range(SUBSETS)]
    for features in sets:
        weight = chosen[None if features is sets[0] else FEW]
        for name, value in _estimators(scored["main"], features, weight, Settings().shrinkage).items():
            tops.setdefault(name, []).append(value)
    whole = tops[PLAIN][0]
    for name, (full, *few) in tops.items():
        mean = float(np.mean(few))
        cells = (percent(full), percent(mean), f"{100 * (full - mean):.1f}", f"{100 * (whole - mean):.1f}")
        table.add((name, *cells), estimator=name, all=full, few=few, loss=full - mean, loss_of_plain=whole - mean)
    return table


def _estimators(scored: Scored, features: Sequence[Float32], chosen: float, default: float) -> dict[str, float]:
    queries, moments = scored.queries.features, methods.features_to_moments(tuple(features))
    floor = FLOOR * np.eye(moments.covariance.shape[-1])
    toward = beyond.toward_pooled(moments, default)
    densities = {
        PLAIN: methods.with_epsilon(moments.covariance),
        "Ledoit–Wolf": np.stack([beyond.ledoit_wolf(rows) for rows in features]) + floor,
        "OAS": np.stack([beyond.oracle_approximating(rows) for rows in features]) + floor,
        "toward pooled, chosen": beyond.toward_pooled(moments, chosen),
        f"toward pooled, {default:g} (the default)": toward,
    }
    scores = {name: methods.gaussian_density(queries, moments.mean, own) for name, own in densities.items()}
    nearest = methods.from_samples(queries, tuple(features), methods.best_k(10))
    scores["blend of the default and best-10"] = beyond.blended(list(scores.values())[-1], nearest)
    return {name: top1(own, scored) for name, own in scores.items()}


def _chosen_weight(all_: Further, scored: Scored, count: int | None) -> float:
    moments = methods.features_to_moments(all_.parts["synthetic"].features, count)
    tried = {}
    for weight in WEIGHTS:
        covariance = beyond.toward_pooled(moments, weight)
        tried[weight] = top1(methods.gaussian_density(scored.queries.features, moments.mean, covariance), scored)
    return float(best_of(tried))
