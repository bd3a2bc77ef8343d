"""Two collections of model means, drawn a block at a time from fixed seeds, and the queries that they are asked.

*Simulated* is the papers' simulation: i.i.d. normal directions. There is no structure in it to find, so no index can
be faster than a scan and still be right.

*Clustered* is made like the means of real models: a mixture of topics on a cone, with coordinates that fall off as a
power of their rank, in a random orthonormal basis: v = unit((t + 1.2 g) ∘ s + 2 e₁) B with t, g normal ``(d,)``,
s_i = i^−½. There is a topic for every 500 models, 20 at least; the r-th is drawn r^−0.3 as often as the first.
Models lie as far from their topic's centre as topics from one another, so cells are hard to tell apart: of a million
models' 4 096 cells (k-means), the 64 nearest to a query hold some 97 % of its ten best, in 3 per cent of all models.
(With 200 topics and half of that distance 32 cells hold all of them, and every index looks better than it is.)

Queries come in families. The kindest, ``isotropic``, lies at cosine 0.8 from a random model, in a random direction off
it: what pictures' features have with the mean of the model that drew them, in round numbers. But pictures differ from
their model's mean in the directions in which pictures vary, not in random ones. So the others lie at cosines of 0.6,
0.8 and 0.9 in directions whose coordinates fall off as a power of their rank, in the collection's own eigenbasis, and
the last are models that were drawn with the others and left out. All rows have unit norm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from engine.index.quantized.tuning import exact_rows

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Blocks = Iterator[Float32]

DIMENSION = 512
QUERIES = 200
SEED = 0
BLOCK = 50_000
"""Rows that are drawn at once. It is part of the seed: another block draws other clustered rows."""
LEFT_OUT = 1000
"""Models that are drawn with the others and not in the collection."""
MODELS_A_TOPIC, TOPICS, SPECTRUM, AROUND, CONE, FAVOUR, CLOSE = 500, 20, 0.5, 1.2, 2.0, 0.3, 0.8
ANSWERS = 100
"""Best models a query that are kept as the truth."""
KINDEST, HELD = "isotropic", "models left out"
SHAPED = {
    f"spectrum {exponent:g}, cosine {cosine:g}": (exponent, cosine)
    for exponent in (0.5, 1.0, 1.5)
    for cosine in (0.6, 0.8, 0.9)
}
"""Families of queries by name: coordinates fall off as rank^−exponent."""
FAMILIES = (KINDEST, *SHAPED, HELD)


def unit(rows: NDArray[np.floating]) -> Float32:
    """Rows to unit norm."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def clustered(n: int, random: np.random.Generator, dimension: int = DIMENSION, beyond: int = 0) -> Blocks:
    """Rows ``(n, d)`` in blocks ``(≤ BLOCK, d)``, and a block of so many ``beyond`` them, of the same topics."""
    scale = np.arange(1, dimension + 1, dtype=np.float32) ** -SPECTRUM
    basis = np.linalg.qr(random.normal(size=(dimension, dimension)))[0].astype(np.float32)
    topics = (random.normal(size=(max(n // MODELS_A_TOPIC, TOPICS), dimension)) * scale).astype(np.float32)
    often = np.arange(1, len(topics) + 1) ** -FAVOUR
    for size in block_sizes(n, beyond):
        own = topics[random.choice(len(topics), size, p=often / often.sum())]
        own = own + AROUND * random.standard_normal((size, dimension), np.float32) * scale
        own[:, 0] += CONE
        yield unit(own) @ basis


def simulated(n: int, random: np.random.Generator, dimension: int = DIMENSION, beyond: int = 0) -> Blocks:
    """Rows ``(n, d)`` in blocks ``(≤ BLOCK, d)``, and a block of so many ``beyond`` them."""
    for size in block_sizes(n, beyond):
        yield unit(random.standard_normal((size, dimension), np.float32))


def block_sizes(n: int, beyond: int) -> list[int]:
    """How many rows each block has."""
    return [min(BLOCK, n - start) for start in range(0, n, BLOCK)] + [beyond] * (beyond > 0)


DATA: dict[str, Callable[..., Blocks]] = {"clustered": clustered, "simulated": simulated}


def near(rows: Float32, random: np.random.Generator, count: int = QUERIES) -> tuple[Float32, Int64]:
    """Queries ``(count, d)`` at cosine ``CLOSE`` from some of the rows, and which rows ``(count,)``."""
    places = random.integers(0, len(rows), count)
    own = rows[places]
    away = random.normal(size=own.shape)
    away -= np.einsum("qd,qd->q", away, own)[:, None] * own
    return np.asarray(CLOSE * own + np.sqrt(1 - CLOSE**2) * unit(away), np.float32), places


def shaped(
    rows: Float32, basis: NDArray[np.float64], exponent: float, cosine: float, random: np.random.Generator,
    count: int = QUERIES,
) -> Float32:  # fmt: skip
    """Queries ``(count, d)`` at a cosine from some of the rows; off them, along ``basis`` ``(d, d)``, a power law."""
    own = np.asarray(rows[np.sort(random.integers(0, len(rows), count))], np.float64)
    away = (random.normal(size=own.shape) * np.arange(1, len(basis) + 1) ** -exponent) @ basis
    away -= np.einsum("qd,qd->q", away, own)[:, None] * own
    return np.asarray(cosine * own + np.sqrt(1 - cosine**2) * unit(away), np.float32)


def eigenbasis(rows: Float32) -> NDArray[np.float64]:
    """The eigenvectors of the rows' covariance, as rows ``(d, d)``, largest eigenvalue first."""
    directions = np.linalg.eigh(np.cov(np.asarray(rows, np.float64), rowvar=False))[1]
    return np.asarray(directions[:, ::-1].T)


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries ``(q, d)`` float32 of one family, and the exact answers ``(q, ≤ ANSWERS)``, best first."""

    queries: Float32
    truth: Int64


@dataclass(frozen=True, eq=False)
class Drawn:
    """A collection on disk: ``vectors`` ``(n, d)`` are mapped, read-only.

    Attributes:
        families: what it is asked, by family; ``queries`` and ``truth`` are those of the kindest.
        sources: the row that each of these was made from ``(q,)``.
    """

    name: str
    seed: int
    vectors: Float32
    families: dict[str, Asked]
    sources: Int64

    @property
    def queries(self) -> Float32:
        """The kindest family's."""
        return self.families[KINDEST].queries

    @property
    def truth(self) -> Int64:
        """The kindest family's."""
        return self.families[KINDEST].truth


def draw(
    folder: Path, name: str, n: int, *, dimension: int = DIMENSION, queries: int = QUERIES, seed: int = SEED
) -> None:
    """Write a collection into ``folder``, unless it is there; what is interrupted is not taken for done."""
    wanted = {
        "data": name, "models": n, "dimension": dimension, "queries": queries, "seed": seed, "families": [*FAMILIES],
    }  # fmt: skip
    done = folder / "drawn.json"
    if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    random = np.random.default_rng(seed)
    vectors = open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=(n, dimension))
    blocks = DATA[name](n, random, dimension, LEFT_OUT)
    for place, block in enumerate(islice(blocks, -(-n // BLOCK))):
        vectors[place * BLOCK : place * BLOCK + len(block)] = block
    asked, sources = near(vectors, random, queries)
    families = {KINDEST: asked, HELD: next(blocks)[:queries]}
    basis = eigenbasis(vectors[:BLOCK])
    families |= {name: shaped(vectors, basis, *shape, random, queries) for name, shape in SHAPED.items()}
    for number, family in enumerate(FAMILIES):
        np.save(folder / f"queries-{number}.npy", families[family])
        np.save(folder / f"truth-{number}.npy", exact_rows(vectors, families[family], min(ANSWERS, n)))
    np.save(folder / "sources.npy", sources)
    vectors.flush()
    done.write_text(json.dumps(wanted), encoding="utf-8")


def read(folder: Path) -> Drawn:
    """What ``draw`` wrote."""
    wanted = json.loads((folder / "drawn.json").read_text(encoding="utf-8"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)

    def stored(part: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(folder / f"{part}.npy", allow_pickle=False)
        return array

    families = {
        family: Asked(stored(f"queries-{number}"), stored(f"truth-{number}"))
        for number, family in enumerate(wanted["families"])
    }
    return Drawn(wanted["data"], wanted["seed"], vectors, families, stored("sources"))
