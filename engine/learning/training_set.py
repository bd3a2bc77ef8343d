"""What a transform is learned from: judged queries, encoded, and the statistics of every model of the collection."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """``q`` queries of ``n`` models.

    Attributes:
        queries: ``(q, d)`` float32 of unit norm.
        owners: ``(q,)``, the row of each query's own model.
        means: ``(n, d)`` float32, μ, of every model of the collection, whether it has queries or not.
        inverses: ``(n, d, d)`` float32, L⁻¹ of each model's Σ = L Lᵀ; for densities.
        log_dets: ``(n,)``, log det Σ; for densities.
        logit_scale: the encoder's 1/τ.
    """

    queries: Float32
    owners: Int64
    means: Float32
    inverses: Float32 | None = None
    log_dets: NDArray[np.float64] | None = None
    logit_scale: float = 100.0

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.owners) or self.queries.ndim != 2:
            raise InvalidInput(f"{len(self.queries)} queries do not go with {len(self.owners)} owners")
        if self.means.ndim != 2 or self.means.shape[1] != self.queries.shape[1]:
            raise InvalidInput(f"means {self.means.shape} do not go with queries {self.queries.shape}")
        if len(self.owners) and (self.owners.min() < 0 or self.owners.max() >= len(self.means)):
            raise InvalidInput(f"an owner is not one of the {len(self.means)} models")

    @property
    def dimension(self) -> int:
        """d."""
        return int(self.means.shape[1])

    def judged(self) -> Int64:
        """Rows of the models that have queries, ascending."""
        return np.unique(self.owners)

    def places_of(self, models: Int64) -> Int64:
        """Places of the queries whose model is one of these rows."""
        return np.flatnonzero(np.isin(self.owners, models)).astype(np.int64)

    def digest(self) -> str:
        """SHA-256 of everything in it."""
        digest = hashlib.sha256()
        for array in (self.queries, self.owners, self.means, self.inverses, self.log_dets):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def split_models(models: Int64, share: float, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """Models to (the larger part, about ``share`` of them), at least one in each.

    Raises:
        InvalidInput: there are fewer than two.
    """
    if len(models) < 2:
        raise InvalidInput(
            f"training needs queries of at least 2 models, got {len(models)}",
            hint="some models are set aside, to see when to stop",
        )
    shuffled = rng.permutation(models)
    aside = min(max(round(share * len(models)), 1), len(models) - 1)
    return np.sort(shuffled[aside:]), np.sort(shuffled[:aside])
