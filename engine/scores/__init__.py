"""Pure scoring rules, one a file. They know neither storage nor how candidates were chosen."""

from engine.scores.best_k import best_k
from engine.scores.blend import blend
from engine.scores.first_moment import first_moment, unit
from engine.scores.first_second_moment import first_second_moment
from engine.scores.frechet import frechet_distance
from engine.scores.gaussian_density import GaussianFactor, Shrinkage, gaussian_density, statistics_to_factor
from engine.scores.learned_first_moment import learned_first_moment, transformed
from engine.scores.learned_gaussian_density import (
    CovarianceMap,
    learned_gaussian_density,
    matrix_to_covariance_map,
)
from engine.scores.linear_density import LinearDensity
from engine.scores.monte_carlo import monte_carlo
from engine.scores.product_of_experts import product_of_experts
from engine.scores.whitened_first_moment import Whitening, fit_whitening

__all__ = [
    "CovarianceMap",
    "GaussianFactor",
    "LinearDensity",
    "Shrinkage",
    "Whitening",
    "best_k",
    "blend",
    "first_moment",
    "first_second_moment",
    "fit_whitening",
    "frechet_distance",
    "gaussian_density",
    "learned_first_moment",
    "learned_gaussian_density",
    "matrix_to_covariance_map",
    "monte_carlo",
    "product_of_experts",
    "statistics_to_factor",
    "transformed",
    "unit",
]
