"""Distances between models: one table, by which lists are kept, answers are ordered and bars are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import InvalidQuery

if TYPE_CHECKING:  # the command line names distances in its help, without loading NumPy
    import numpy as np
    from numpy.typing import NDArray

    from engine.records import Statistics

    Measured = tuple[Statistics, NDArray[np.float64] | None]
    """A model's moments, and the Cholesky factor of its covariance where it has one."""


@dataclass(frozen=True)
class Distance:
    """A way to say how near two models are.

    Attributes:
        name: what callers ask for.
        label: what people read.
        lower_is_nearer: whether it is a distance, else a similarity.
        stored: whether lists of the nearest models are kept in the database; else the index answers.
        function: the value for two models, NaN where one lacks what it needs.
    """

    name: str
    label: str
    lower_is_nearer: bool
    stored: bool
    function: Callable[[Measured, Measured], float]


def _frechet(a: Measured, b: Measured) -> float:
    (first, own), (second, other) = a, b
    from engine.scores import frechet_distance

    if own is None or other is None:
        return float("nan")
    return 0.0 if first is second else frechet_distance(first.mean, own, second.mean, other)


def _cosine(a: Measured, b: Measured) -> float:
    from engine.scores import unit

    return float(unit(a[0].mean) @ unit(b[0].mean))


FRECHET = Distance("frechet", "Fréchet distance", True, True, _frechet)
COSINE = Distance("cosine", "cosine of means", False, False, _cosine)
DISTANCES = {one.name: one for one in (FRECHET, COSINE)}


def name_to_distance(name: str) -> Distance:
    """The distance of that name.

    Raises:
        InvalidQuery: there is none.
    """
    found = DISTANCES.get(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidQuery(f"unknown distance {name!r:.80}", hint=f"distances are {', '.join(DISTANCES)}")
    return found
