"""What goes beyond the papers: whitening, shrinkage, a density for sketches, calibration, stacking.

Whatever is learned is learned on other models than it is tested on: callers pass the training models' arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn.covariance
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.cluster import KMeans

from benchmarks.accuracy.load import Bool, Float32
from benchmarks.accuracy.methods import EPSILON, Float64, Moments, best_k, from_samples, gaussian_density, with_epsilon
from engine.records import Statistics
from engine.scores import LinearDensity, Shrinkage, unit
from engine.scores.blend import WEIGHT

# --- whitened first moment


@dataclass(frozen=True)
class Whitening:
    """x → W(x − m), with W ``(d, d)`` the inverse Cholesky factor of the regularised within-model covariance."""

    transform: Float64
    centre: Float64

    def __call__(self, rows: NDArray[np.floating]) -> Float64:
        """Rows ``(n, d)`` into the whitened space."""
        return np.asarray((rows - self.centre) @ self.transform.T)


def fit_whitening(moments: Moments, shrinkage: float, extra: Float64 | None = None) -> Whitening:
    """From the collection's own statistics: S_w shrunk toward its mean eigenvalue, centred on the mean of means.

    ``extra`` ``(d, d)`` is added to S_w: what a query varies by that samples do not (a sketch's domain shift).
    """
    pooled = moments.pooled + (0 if extra is None else extra)
    size = len(pooled)
    pooled = (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / size * np.eye(size)
    inverse = solve_triangular(np.linalg.cholesky(pooled), np.eye(size), lower=True)
    return Whitening(inverse, unit(moments.mean).mean(axis=0, dtype=np.float64))


def whitened_first_moment(
    queries: Float32, moments: Moments, whitening: Whitening, shift: Float64 | None = None
) -> Float32:
    """The cosine of W(h̃ − δ − m) and W(μ̃ − m): one inner product a model. δ is the queries' domain shift."""
    asked = queries if shift is None else queries - shift
    return unit(whitening(asked)) @ unit(whitening(unit(moments.mean))).T


def linear_discriminant(queries: Float32, moments: Moments, whitening: Whitening) -> Float32:
    """LDA's own rule, aᵀb − ‖b‖²/2 with a = W(h̃ − m), b = W(μ̃ − m): also one inner product, of d + 1 numbers."""
    asked, means = whitening(queries), whitening(unit(moments.mean))
    return np.asarray(asked @ means.T - 0.5 * np.einsum("nd,nd->n", means, means), np.float32)


@dataclass(frozen=True)
class Discriminative:
    """A vector ``(n, d)`` and a bias ``(n,)`` a model, in a whitened space."""

    whitening: Whitening
    vectors: Float32
    biases: Float32

    def __call__(self, queries: Float32) -> Float32:
        """v_nᵀW(h̃ − m) + b_n: one inner product of d + 1 numbers."""
        return np.asarray(self.whitening(queries) @ self.vectors.T + self.biases, np.float32)


def fit_discriminative(
    features: Sequence[Float32], moments: Moments, whitening: Whitening, decay: float, seed: int, epochs: int = 5
) -> Discriminative:
    """Which model drew this sample? Softmax regression on the models' own samples, from the linear discriminant on.

    Sees no query. Each model lends its first 500 samples; Adam, the rate falling to zero; ``decay`` pulls the vectors
    back to where they began.
    """
    torch.manual_seed(seed)
    taken = [rows[:500] for rows in features]
    x = torch.from_numpy(np.concatenate([whitening(rows) for rows in taken]).astype(np.float32))
    y = torch.from_numpy(np.repeat(np.arange(len(taken)), [len(rows) for rows in taken]))
    first = torch.from_numpy(whitening(unit(moments.mean)).astype(np.float32))
    vectors, biases = first.clone().requires_grad_(), (-0.5 * first.square().sum(dim=1)).requires_grad_()
    optimiser = torch.optim.Adam([vectors, biases], lr=0.02)
    steps = epochs * -(-len(x) // 512)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(512):
            loss = torch.nn.functional.cross_entropy(x[batch] @ vectors.T + biases, y[batch])
            loss = loss + decay * (vectors - first).square().sum() / len(first)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return Discriminative(whitening, vectors.detach().numpy(), biases.detach().numpy())


def linear_density(queries: Float32, moments: Moments, weight: float) -> Float32:
    """The engine's own: the density toward pooled as one inner product of d + 1 numbers."""
    total = moments.pooled + np.cov(moments.mean, rowvar=False)
    linear = LinearDensity(moments.mean.mean(axis=0), total, Shrinkage(moments.pooled, weight, ""))
    models = [
        Statistics(mean.astype(np.float32), covariance.astype(np.float32), EPSILON, int(samples))
        for mean, covariance, samples in zip(moments.mean, moments.covariance, moments.samples, strict=True)
    ]
    return linear.queries_to_vectors(queries) @ linear.statistics_to_vectors(models).T


# --- covariance shrinkage


def ledoit_wolf(rows: Float32) -> Float64:
    """(1 − ρ)S + ρ·tr(S)/d·I, ρ by Ledoit and Wolf (2004), of one model's samples ``(n, d)``."""
    return np.asarray(sklearn.covariance.ledoit_wolf(rows.astype(np.float64))[0])


def oracle_approximating(rows: Float32) -> Float64:
    """The same shape, ρ by Chen, Wiesel, Eldar and Hero (2010)."""
    return np.asarray(sklearn.covariance.oas(rows.astype(np.float64))[0])


def toward_pooled(moments: Moments, weight: float | NDArray[np.float64], epsilon: float = EPSILON) -> Float64:
    """(1 − w)S_n + w·S_w + εI ``(n, d, d)``; ``weight`` is one number or one a model."""
    w = np.broadcast_to(np.asarray(weight, np.float64), (len(moments.mean),))[:, None, None]
    return with_epsilon((1 - w) * moments.covariance + w * moments.pooled, epsilon)


# --- several modes, and a metric for the samples


def mixture_density(
    queries: Float32, features: Sequence[Float32], moments: Moments, weight: float, parts: int, seed: int = 0
) -> Float32:
    """log Σ_k π_k N(h̃; μ_nk, (1 − w)(S_n − B_n) + w·S_w + εI), k-means' ``parts`` clusters of each model's samples.

    B_n is the covariance of the clusters' means, so S_n − B_n is what is left within clusters, pooled over them.
    """
    result = np.empty((len(queries), len(features)), np.float32)
    for i, rows in enumerate(features):
        found = KMeans(parts, n_init=1, random_state=seed).fit(rows)
        labels, centres = found.labels_, found.cluster_centers_.astype(np.float64)
        inside = rows.astype(np.float64) - centres[labels]
        own = inside.T @ inside / max(len(rows) - parts, 1)
        covariance = with_epsilon((1 - weight) * own + weight * moments.pooled)
        each = gaussian_density(queries, centres, np.repeat(covariance[None], parts, axis=0))
        shares = np.bincount(labels, minlength=parts) / len(rows)
        result[:, i] = logsumexp(each + np.log(np.maximum(shares, 1e-12)), axis=1)
    return result


def partly_whitened_best_10(
    queries: Float32, features: Sequence[Float32], moments: Moments, power: float, shrinkage: float = 0.1
) -> Float32:
    """Best-10 by the cosine of S_w^(−power)(h̃ − m): power 0.5 whitens, 0 only centres."""
    values, vectors = np.linalg.eigh(moments.pooled)
    scaled = (vectors * (np.maximum(values, 0) + shrinkage * values.mean()) ** -power).astype(np.float32)
    centre = moments.mean.mean(axis=0).astype(np.float32)
    mapped = tuple(unit((rows - centre) @ scaled) for rows in features)
    return from_samples(unit((queries - centre) @ scaled), mapped, best_k(10))


def blended(densities: Float32, similarities: Float32) -> Float32:
    """The engine's blend of a density with best-10, standardised over all models."""
    return np.asarray((standardised(densities) + WEIGHT * standardised(similarities)) / (1 + WEIGHT))


# --- a density for sketches


@dataclass(frozen=True)
class DomainShift:
    """What a sketch differs from its picture by: mean ``(d,)`` and low-rank covariance ``(d, d)``."""

    mean: Float64
    covariance: Float64


def fit_shift(pictures: Float32, sketches: Float32, rank: int) -> DomainShift:
    """From pairs ``(q, d)``: the mean of sketch − picture, and the ``rank`` largest components of its covariance."""
    difference = sketches.astype(np.float64) - pictures
    covariance = np.cov(difference, rowvar=False)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[-rank:], vectors[:, -rank:]
    return DomainShift(difference.mean(axis=0), (vectors * values) @ vectors.T)


def shifted_density(queries: Float32, mean: Float64, covariance: Float64, shift: DomainShift, weight: float) -> Float32:
    """log N(h̃; μ + δ, Σ + wΔ)."""
    return gaussian_density(queries, mean + shift.mean, covariance + weight * shift.covariance)


# --- calibration and stacking


def standardised(scores: Float32) -> Float32:
    """Each query's scores to zero mean and unit spread over the models: methods become comparable."""
    return np.asarray((scores - scores.mean(axis=1, keepdims=True)) / (scores.std(axis=1, keepdims=True) + 1e-9))


def calibrated(scores: Float32, background: Float32) -> Float32:
    """Less each model's mean over background queries ``(b, n)``, in units of its spread there: hubs lose their lead."""
    return np.asarray((scores - background.mean(axis=0)) / (background.std(axis=0) + 1e-9), np.float32)


def fit_stack(scores: Sequence[Float32], targets: Bool, *, penalty: float = 1e-3) -> NDArray[np.float64]:
    """Weights ``(methods,)`` of standardised scores in a softmax over models, by maximum likelihood (L-BFGS)."""
    x = torch.from_numpy(np.stack([standardised(s) for s in scores], axis=-1).astype(np.float64))
    right = torch.from_numpy(targets)
    weights = torch.zeros(x.shape[-1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = x @ weights
        inside = logits.masked_fill(~right, -torch.inf)
        value = (logits.logsumexp(1) - inside.logsumexp(1)).mean() + penalty * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return np.asarray(weights.detach().numpy())


def stacked(scores: Sequence[Float32], weights: NDArray[np.float64]) -> Float32:
    """The weighted sum of standardised scores."""
    return np.asarray(sum(w * standardised(s) for w, s in zip(weights, scores, strict=True)), np.float32)
