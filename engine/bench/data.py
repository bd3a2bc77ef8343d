"""Two collections of model means, drawn a block at a time from fixed seeds, and what is asked of them.

*Simulated* is the papers' simulation: i.i.d. normal directions. There is no structure in it to find, so no index can
be faster than a scan and still be right.

*Clustered* is made like the means of real models: a mixture of topics on a cone, with coordinates that fall off as a
power of their rank, in a random orthonormal basis: v = unit((t + 1.2 g) ∘ s + 2 e₁) B with t, g normal ``(d,)``,
s_i = i^−½. There is a topic for every 500 models, 20 at least; the r-th is drawn r^−0.3 as often as the first.
Models lie as far from their topic's centre as topics from one another, so cells are hard to tell apart: of a million
models' 4 096 cells (k-means), the 64 nearest to a query hold some 97 % of its ten best, in 3 per cent of all models.
(With 200 topics and half of that distance 32 cells hold all of them, and every index looks better than it is.)

A query lies at cosine 0.8 from a model drawn at random, in a random direction off it: what pictures' features have
with the mean of the model that drew them, in round numbers. All rows have unit norm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Blocks = Iterator[Float32]

DIMENSION = 512
QUERIES = 200
SEED = 0
BLOCK = 50_000
"""Rows that are drawn at once. It is part of the seed: another block draws other clustered rows."""
MODELS_A_TOPIC, TOPICS, SPECTRUM, AROUND, CONE, FAVOUR, CLOSE = 500, 20, 0.5, 1.2, 2.0, 0.3, 0.8
ANSWERS = 100
"""Best models a query that are kept as the truth."""


def unit(rows: NDArray[np.floating]) -> Float32:
    """Rows to unit norm."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def clustered(n: int, random: np.random.Generator, dimension: int = DIMENSION) -> Blocks:
    """Rows ``(n, d)`` in blocks ``(≤ BLOCK, d)``."""
    scale = np.arange(1, dimension + 1, dtype=np.float32) ** -SPECTRUM
    basis = np.linalg.qr(random.normal(size=(dimension, dimension)))[0].astype(np.float32)
    topics = (random.normal(size=(max(n // MODELS_A_TOPIC, TOPICS), dimension)) * scale).astype(np.float32)
    often = np.arange(1, len(topics) + 1) ** -FAVOUR
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        own = topics[random.choice(len(topics), size, p=often / often.sum())]
        own = own + AROUND * random.standard_normal((size, dimension), np.float32) * scale
        own[:, 0] += CONE
        yield unit(own) @ basis


def simulated(n: int, random: np.random.Generator, dimension: int = DIMENSION) -> Blocks:
    """Rows ``(n, d)`` in blocks ``(≤ BLOCK, d)``."""
    for start in range(0, n, BLOCK):
        yield unit(random.standard_normal((min(BLOCK, n - start), dimension), np.float32))


DATA: dict[str, Callable[..., Blocks]] = {"clustered": clustered, "simulated": simulated}


def near(rows: Float32, random: np.random.Generator, count: int = QUERIES) -> tuple[Float32, Int64]:
    """Queries ``(count, d)`` at cosine ``CLOSE`` from some of the rows, and which rows ``(count,)``."""
    places = random.integers(0, len(rows), count)
    own = rows[places]
    away = random.normal(size=own.shape)
    away -= np.einsum("qd,qd->q", away, own)[:, None] * own
    return np.asarray(CLOSE * own + np.sqrt(1 - CLOSE**2) * unit(away), np.float32), places


@dataclass(frozen=True, eq=False)
class Drawn:
    """A collection on disk: ``vectors`` ``(n, d)`` are mapped, read-only.

    Attributes:
        queries: ``(q, d)`` float32.
        sources: the row that each query was made from ``(q,)``.
        truth: the exact answers ``(q, ≤ ANSWERS)``, best first.
    """

    name: str
    seed: int
    vectors: Float32
    queries: Float32
    sources: Int64
    truth: Int64


def draw(
    folder: Path, name: str, n: int, *, dimension: int = DIMENSION, queries: int = QUERIES, seed: int = SEED
) -> None:
    """Write a collection into ``folder``, unless it is there; what is interrupted is not taken for done."""
    wanted = {"data": name, "models": n, "dimension": dimension, "queries": queries, "seed": seed}
    done = folder / "drawn.json"
    if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    random = np.random.default_rng(seed)
    vectors = open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=(n, dimension))
    for place, block in enumerate(DATA[name](n, random, dimension)):
        vectors[place * BLOCK : place * BLOCK + len(block)] = block
    asked, sources = near(vectors, random, queries)
    np.save(folder / "queries.npy", asked)
    np.save(folder / "sources.npy", sources)
    np.save(folder / "truth.npy", exact(vectors, asked))
    vectors.flush()
    done.write_text(json.dumps(wanted), encoding="utf-8")


def read(folder: Path) -> Drawn:
    """What ``draw`` wrote."""
    wanted = json.loads((folder / "drawn.json").read_text(encoding="utf-8"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    rest = [np.load(folder / f"{part}.npy", allow_pickle=False) for part in ("queries", "sources", "truth")]
    return Drawn(wanted["data"], wanted["seed"], vectors, *rest)


def exact(vectors: Float32, queries: Float32, k: int = ANSWERS) -> Int64:
    """The rows with the k largest inner products ``(q, min(k, n))``, best first."""
    scores = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), BLOCK):
        own = queries @ vectors[start : start + BLOCK].T
        scores = np.concatenate([scores, own], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + own.shape[1]), own.shape)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return rows
