"""A covariance for each model, made from its number alone: what stands in for SQL where they do not fit the disk.

*Simulated*, as in the papers: a multiple of the unit matrix with a little uniform symmetric noise. *Clustered*:
variances r^−0.9 in the basis of the collection's means, each scaled by a log-normal number of the model's own, turned
by a few Householder reflections so that no two covariances commute. The trace is 1 − 0.8², that of unit features at
cosine 0.8 from their mean; a model's mean is 0.8 times its unit vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.bench.data import CLOSE
from engine.records import Statistics

Float32 = NDArray[np.float32]
DECAY, OWN, REFLECTIONS, NOISE = 0.9, 0.6, 4, 0.02
EPSILON, SAMPLES = 1e-4, 600


class Covariances:
    """Statistics of model numbers, over the rows ``(n, d)`` of a collection."""

    def __init__(self, data: str, vectors: Float32, seed: int) -> None:
        self.data, self.vectors, self.seed = data, vectors, seed
        d = vectors.shape[1]
        shared = np.arange(1, d + 1) ** -DECAY
        self._shared = shared / shared.sum()
        # The first draw of ``engine.bench.data.clustered``, so that both lie in one basis.
        self._basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0].T.astype(np.float32)

    def mean(self, model: int) -> Float32:
        """μ ``(d,)``."""
        return np.asarray(CLOSE * self.vectors[model], np.float32)

    def covariance(self, model: int) -> Float32:
        """S ``(d, d)``, without ε."""
        random, d = np.random.default_rng([self.seed, model]), len(self._shared)
        trace = 1 - CLOSE**2
        if self.data == "simulated":
            noise = random.uniform(-NOISE, NOISE, (d, d)).astype(np.float32)
            return np.asarray(trace / d * (np.eye(d, dtype=np.float32) + (noise + noise.T) / 2), np.float32)
        variances = self._shared * np.exp(OWN * random.standard_normal(d))
        variances *= trace / variances.sum()
        turned = self._basis.copy()
        for _ in range(REFLECTIONS):
            mirror = (random.standard_normal(d) * self._shared**0.25).astype(np.float32)
            mirror /= np.linalg.norm(mirror)
            turned -= 2 * np.outer(turned @ mirror, mirror)
        half = turned * np.sqrt(variances).astype(np.float32)
        return np.asarray(half @ half.T, np.float32)

    def statistics(self, model: int) -> Statistics:
        """As storage has them."""
        return Statistics(self.mean(model), self.covariance(model), EPSILON, SAMPLES)

    def features(self, model: int, count: int, random: np.random.Generator) -> Float32:
        """Samples of the model ``(count, d)``, of unit norm."""
        wide = self.covariance(model).astype(np.float64) + EPSILON * np.eye(len(self._shared))
        rows = self.mean(model) + random.standard_normal((count, len(wide))) @ np.linalg.cholesky(wide).T
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def query(self, model: int, random: np.random.Generator) -> Float32:
        """A sample, turned until its cosine with the mean is 0.8 ``(d,)``."""
        row, centre = self.features(model, 1, random)[0].astype(np.float64), self.vectors[model].astype(np.float64)
        across = row - (row @ centre) * centre
        return np.asarray(CLOSE * centre + np.sqrt(1 - CLOSE**2) * across / np.linalg.norm(across), np.float32)
