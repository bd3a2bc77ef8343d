"""Scores of queries by models as functions of A, differentiable: what training pulls at, and what ranks are taken of.

    first_moment        cos(Aμ̃_n, Ah̃_q)
    gaussian_density    −(‖L_n⁻¹A⁻¹(h̃_q − μ_n)‖² + log det Σ_n) / 2d, in nats a dimension

The density leaves out 2·log|det A| and d·log 2π, which are the same for every model and so change neither a softmax
over models nor a ranking. Divided by d its differences are of the order of one, as those of cosines are after τ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.learning.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

Scores = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""(A ``(d, d)``, queries ``(b, d)``, rows of models ``(m,)``) to scores ``(b, m)``."""


def scores_of(method: str, data: TrainingSet, device: str) -> Scores:
    """A method's scores over the models of a training set.

    Raises:
        InvalidInput: the density is asked for and there are no factors.
    """
    return _first_moment(data, device) if method == "first_moment" else _gaussian_density(data, device)


def _first_moment(data: TrainingSet, device: str) -> Scores:
    import torch
    from torch.nn.functional import normalize

    means = normalize(torch.as_tensor(data.means, device=device), dim=1)

    def scores(matrix: Tensor, queries: Tensor, models: Tensor) -> Tensor:
        return normalize(queries @ matrix.T, dim=1) @ normalize(means[models] @ matrix.T, dim=1).T

    return scores


def _gaussian_density(data: TrainingSet, device: str) -> Scores:
    import torch

    if data.inverses is None or data.log_dets is None:
        raise InvalidInput("a density is learned from models with covariances")
    means = torch.as_tensor(data.means, device=device)
    inverses = torch.as_tensor(data.inverses, device=device)
    log_dets = torch.as_tensor(data.log_dets, dtype=torch.float32, device=device)

    def scores(matrix: Tensor, queries: Tensor, models: Tensor) -> Tensor:
        asked = torch.linalg.solve(matrix, queries.T)  # A⁻¹h̃ (d, b)
        centres = torch.linalg.solve(matrix, means[models].T)  # A⁻¹μ (d, m)
        z = inverses[models] @ (asked[None] - centres.T[:, :, None])  # (m, d, b)
        squared: Tensor = z.square().sum(dim=1)
        return -(squared + log_dets[models][:, None]).T / (2 * len(matrix))

    return scores
