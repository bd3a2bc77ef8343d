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
from engine.scores.low_rank_density import shrinkage_to_common, statistics_to_low_rank
from engine.scores.monte_carlo import monte_carlo
from engine.scores.packed_density import (
    PackedFactor,
    feature_to_rotated,
    packed_densities,
    statistics_to_packed,
    statistics_to_rotation,
)
from engine.scores.packed_samples import best_k_at, features_to_packed
from engine.scores.product_of_experts import product_of_experts
from engine.scores.whitened_first_moment import Whitening, fit_whitening

__all__ = [
    "CovarianceMap",
    "GaussianFactor",
    "LinearDensity",
    "PackedFactor",
    "Shrinkage",
    "Whitening",
    "best_k",
    "best_k_at",
    "blend",
    "feature_to_rotated",
    "features_to_packed",
    "first_moment",
    "first_second_moment",
    "fit_whitening",
    "frechet_distance",
    "gaussian_density",
    "learned_first_moment",
    "learned_gaussian_density",
    "matrix_to_covariance_map",
    "monte_carlo",
    "packed_densities",
    "product_of_experts",
    "shrinkage_to_common",
    "statistics_to_factor",
    "statistics_to_low_rank",
    "statistics_to_packed",
    "statistics_to_rotation",
    "transformed",
    "unit",
]
