"""Training A by InfoNCE over (query, model) pairs, stopped early on models that training does not see.

    loss = mean_q −log exp(s(q, θ_q)/τ) / Σ_j exp(s(q, θ_j)/τ)

with θ_q the query's own model and j over all models that are not set aside. Models set aside for validation lend no
query and are no candidate in training; their queries are ranked among all models, and the A with the best mean
reciprocal rank is kept, which is the identity when nothing is better. AdamW: Loshchilov & Hutter (2019); InfoNCE: van
den Oord et al. (2018); its use for A_ψ: Lu et al. (2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.learning.options import TrainingOptions
from engine.learning.parameterisations import initial_parameters, parameters_to_matrix
from engine.learning.ranks import scores_to_ranks
from engine.learning.scores import Scores, scores_of
from engine.learning.training_set import Int64, TrainingSet, split_models

if TYPE_CHECKING:
    from torch import Tensor

OnEpoch = Callable[[int, float], None]
BLOCK = 256  # queries that are ranked at a time
WIDE = 4.0
"""A density's τ begins where its logits have this standard deviation: neither flat nor all on one model."""


@dataclass(frozen=True, eq=False)
class Trained:
    """``matrix`` A ``(d, d)`` float32, the ``epoch`` that it is of (0: the identity), and how it came about.

    ``history`` holds the validation score of each epoch, from 0 on.
    """

    matrix: NDArray[np.float32]
    epoch: int
    temperature: float
    history: tuple[float, ...]


def train_on_all(data: TrainingSet, options: TrainingOptions, *, on_epoch: OnEpoch | None = None) -> Trained:
    """Train on every judged model but those that validate.

    Raises:
        InvalidInput: fewer than two models have queries.
    """
    return train(data, options, data.judged(), scores_of(options.method, data, options.device), on_epoch=on_epoch)


def train(
    data: TrainingSet, options: TrainingOptions, judged: Int64, scores: Scores, *, on_epoch: OnEpoch | None = None
) -> Trained:
    """Train on the queries of the models in ``judged``; other models with queries are not looked at at all.

    ``scores`` are the method's over ``data``.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rng = np.random.default_rng(options.seed)
    taught, validating = split_models(judged, options.validation_share, rng)
    unseen = np.concatenate([np.setdiff1d(data.judged(), judged), validating])
    candidates = np.setdiff1d(np.arange(len(data.means)), unseen)
    places = data.places_of(taught)
    queries = torch.as_tensor(data.queries, device=options.device)
    rows = torch.as_tensor(candidates, device=options.device)
    targets = torch.as_tensor(np.searchsorted(candidates, data.owners), device=options.device)
    psi = initial_parameters(options.parameterisation, data.dimension, options.device)
    first = _first_temperature(data, options, scores, places)
    log_tau = torch.tensor(np.log(first), dtype=torch.float32, device=options.device)
    log_tau.requires_grad_(options.learn_temperature)
    rate, decay = options.rates(data.dimension)
    groups: list[dict[str, Any]] = [{"params": [psi]}, {"params": [log_tau], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, weight_decay=decay)

    def validated() -> tuple[float, Tensor]:
        matrix = parameters_to_matrix(options.parameterisation, psi).detach()
        ranks = rank_queries(data, matrix, scores, data.places_of(validating))
        return float((1 / ranks).mean()), matrix

    best, kept = validated()
    history, epoch_kept, tau_kept = [best], 0, first
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(places)
        for start in range(0, len(order), options.batch_size):
            batch = torch.as_tensor(order[start : start + options.batch_size], device=options.device)
            matrix = parameters_to_matrix(options.parameterisation, psi)
            logits = scores(matrix, queries[batch], rows) / log_tau.exp()
            loss = cross_entropy(logits, targets[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        score, matrix = validated()
        history.append(score)
        if on_epoch is not None:
            on_epoch(epoch, score)
        if score > best:
            best, kept, epoch_kept, tau_kept = score, matrix, epoch, float(log_tau.detach().exp())
        elif epoch - epoch_kept >= options.patience:
            break
    return Trained(kept.cpu().numpy(), epoch_kept, tau_kept, tuple(history))


def rank_queries(data: TrainingSet, matrix: Tensor, scores: Scores, places: Int64) -> Int64:
    """Ranks of the queries at ``places``, each among all models."""
    import torch

    everyone = torch.arange(len(data.means), device=matrix.device)
    found = []
    with torch.no_grad():
        for start in range(0, len(places), BLOCK):
            block = places[start : start + BLOCK]
            asked = torch.as_tensor(data.queries[block], device=matrix.device)
            found.append(scores_to_ranks(scores(matrix, asked, everyone).cpu().numpy(), data.owners[block]))
    return np.concatenate(found)


def _first_temperature(data: TrainingSet, options: TrainingOptions, scores: Scores, places: Int64) -> float:
    import torch

    if options.temperature is not None:
        return options.temperature
    if options.method == "first_moment":
        return 1 / data.logit_scale
    some = places[:: max(len(places) // BLOCK, 1)]
    psi = initial_parameters(options.parameterisation, data.dimension, options.device)
    with torch.no_grad():
        matrix = parameters_to_matrix(options.parameterisation, psi)
        asked = torch.as_tensor(data.queries[some], device=options.device)
        spread = scores(matrix, asked, torch.arange(len(data.means), device=options.device)).std(dim=1).mean()
    return max(float(spread) / WIDE, 1e-6)
