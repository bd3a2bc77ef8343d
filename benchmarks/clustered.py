"""A synthetic collection that looks like one of real models where it matters to search: clustered, narrow, power-law.

Features of real encoders fill a narrow cone, and their variance falls off as a power of the rank. Here a shared basis
has the variances r⁻ᵃ; a topic's mean is the cone's axis plus a draw with these variances; a model's mean is its topic's
plus a smaller draw. A model's samples are its mean plus a draw with *its own* variances: the shared ones, each scaled
by a log-normal number, and turned by a few Householder reflections, so that no two covariances commute. Scales are such
that a sample lies at cosine ``COSINE`` from its model's mean. Queries are fresh samples, at exactly that cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.records import Statistics

Float64 = NDArray[np.float64]
COSINE = 0.8
"""Of a query with its model's mean: what pictures' features have with their model's, in round numbers."""
DECAY = 0.9
"""The exponent a of the shared variances r⁻ᵃ."""
CONE, APART = 0.7, 0.35
"""How far topics lie from the axis, and models from their topic's mean, where the axis has length 1."""
REFLECTIONS = 4
OWN = 0.6
"""Standard deviation of the logarithm of a model's own share in each variance."""
EPSILON = 1e-4


@dataclass(frozen=True, eq=False)
class Clustered:
    """``models`` statistics, and for each the queries ``(queries, d)`` float32 of unit norm drawn from it."""

    statistics: list[Statistics]
    queries: list[NDArray[np.float32]]


def draw(models: int, dimension: int, *, topics: int, samples: int, queries: int, seed: int) -> Clustered:
    """Draw a collection. ``samples`` go into each covariance: with fewer than ``dimension`` it is singular."""
    random = np.random.default_rng(seed)
    shared = np.arange(1, dimension + 1, dtype=np.float64) ** -DECAY
    shared /= shared.sum()
    axis = np.zeros(dimension)
    axis[0] = 1.0
    centres = axis + CONE * random.standard_normal((topics, dimension)) * np.sqrt(shared)
    drawn: list[Statistics] = []
    asked: list[NDArray[np.float32]] = []
    for _ in range(models):
        mean = centres[random.integers(topics)] + APART * random.standard_normal(dimension) * np.sqrt(shared)
        mean *= COSINE / np.linalg.norm(mean)
        own = shared * np.exp(OWN * random.standard_normal(dimension))
        own *= (1 - COSINE**2) / own.sum()
        noise = random.standard_normal((samples + queries, dimension)) * np.sqrt(own)
        for _ in range(REFLECTIONS):
            mirror = random.standard_normal(dimension) * shared**0.25
            mirror /= np.linalg.norm(mirror)
            noise -= 2 * np.outer(noise @ mirror, mirror)
        rows = mean + noise
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        kept = rows[:samples]
        centre = kept.mean(axis=0)
        covariance = np.cov(kept, rowvar=False).astype(np.float32)
        drawn.append(Statistics(centre.astype(np.float32), covariance, EPSILON, samples))
        asked.append(_at_cosine(rows[samples:], centre))
    return Clustered(drawn, asked)


def _at_cosine(rows: Float64, mean: Float64) -> NDArray[np.float32]:
    """Unit rows turned toward or away from the mean until their cosine with it is ``COSINE``."""
    centre = mean / np.linalg.norm(mean)
    across = rows - np.outer(rows @ centre, centre)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return (COSINE * centre + np.sqrt(1 - COSINE**2) * across).astype(np.float32)
