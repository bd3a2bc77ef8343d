"""What is put into a collection, as a function of a seed, so that whoever checks it can make it again."""

from __future__ import annotations

import tarfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.engine.small_encoder import DIMENSION, ProjectionEncoder

ENCODER = "external:projection"
EPSILON = 1e-4
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """What must be stored of a model: ``mean`` ``(d,)`` and ``covariance`` ``(d, d)`` float64, None for means alone."""

    mean: Float64
    covariance: Float64 | None
    samples: int


def features(seed: int, rows: int = 40) -> NDArray[np.float32]:
    """Features ``(rows, d)`` float32 of unit norm around a direction of their own."""
    rng = np.random.default_rng([seed, 1])
    wide = rng.normal(size=DIMENSION) + 0.5 * rng.normal(size=(rows, DIMENSION))
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


@lru_cache(4096)
def moments(seed: int, rows: int = 40) -> Moments:
    """The moments of ``features``, in float64."""
    return features_to_moments(features(seed, rows))


def features_to_moments(rows: NDArray[np.float32]) -> Moments:
    """Mean and sample covariance, as NumPy has them."""
    wide = rows.astype(np.float64)
    return Moments(wide.mean(axis=0), np.cov(wide, rowvar=False), len(wide))


def arrays(seeds: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means ``(n, d)`` and covariances ``(n, d, d)`` of several models, for the bulk path."""
    found = [moments(seed) for seed in seeds]
    means = np.stack([one.mean for one in found]).astype(np.float32)
    return means, np.stack([one.covariance for one in found]).astype(np.float32)


def picture(seed: int, number: int) -> NDArray[np.uint8]:
    """One 8 × 8 picture ``(8, 8, 3)`` of a model."""
    centre = np.random.default_rng([seed, 2]).normal(size=(8, 8, 3))
    drawn = 128 + 50 * centre + 20 * np.random.default_rng([seed, 3, number]).normal(size=(8, 8, 3))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def make_pictures(folder: Path, seed: int, count: int) -> Path:
    """A folder of a model's pictures."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(picture(seed, number)).save(folder / f"{number:04}.png")
    return folder


def pack(folder: Path, path: Path) -> Path:
    """The pictures of a folder as an archive, ``.zip`` or ``.tar`` by its name."""
    names = sorted(folder.iterdir())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(name, name.name)
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.add(name, name.name)
    return path


@lru_cache(64)
def picture_moments(seed: int, count: int) -> Moments:
    """The moments of a model's pictures under the test encoder."""
    encoder = ProjectionEncoder()
    batch = np.stack([encoder.prepare(Image.fromarray(picture(seed, number))) for number in range(count)])
    return features_to_moments(encoder.prepared_to_features(batch))


def draw(*, count: int, seed: int, **_: Any) -> NDArray[np.uint8]:
    """A generator: ``python:tests.torture.content:draw``."""
    return np.stack([picture(99, seed + number) for number in range(count)])


def query(seed: int) -> NDArray[np.float32]:
    """A feature ``(d,)`` float32 of unit norm to search by."""
    wide = np.random.default_rng([seed, 4]).normal(size=DIMENSION)
    return (wide / np.linalg.norm(wide)).astype(np.float32)
