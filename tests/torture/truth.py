"""What stands in a database, read by plain SQL and judged by NumPy: nothing here goes through the engine.

``read_truth`` recomputes every checksum, ``broken`` says what is half or contradicts itself, and ``first_moments`` and
``densities`` are the brute-force answers that searches must equal.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors
from scipy.stats import multivariate_normal
from sqlalchemy import NullPool, create_engine, text

Float64 = NDArray[np.float64]

ORPHANS = {
    "statistics of no model": "SELECT model_id FROM statistics WHERE model_id NOT IN (SELECT id FROM models)",
    "a model without statistics": "SELECT id FROM models WHERE id NOT IN (SELECT model_id FROM statistics)",
    "sample features of no statistics": "SELECT f.model_id FROM sample_features f LEFT JOIN statistics s"
    " ON s.model_id = f.model_id AND s.encoder_id = f.encoder_id WHERE s.model_id IS NULL",
    "a preview of no model": "SELECT model_id FROM thumbnails WHERE model_id NOT IN (SELECT id FROM models)",
    "a tag of no model": "SELECT model_id FROM model_tags WHERE model_id NOT IN (SELECT id FROM models)",
    "a tag that is not there": "SELECT model_id FROM model_tags WHERE tag_id NOT IN (SELECT id FROM tags)",
    "a similar model that is gone": "SELECT neighbour_id FROM neighbours"
    " WHERE neighbour_id NOT IN (SELECT id FROM models) OR model_id NOT IN (SELECT id FROM models)",
    "statistics without their change": "SELECT s.model_id FROM statistics s LEFT JOIN changes c"
    " ON c.seq = s.change AND c.model_id = s.model_id AND c.op = 'put' WHERE c.seq IS NULL",
    "a removed model that is there": "SELECT m.id FROM models m JOIN changes c ON c.model_id = m.id"
    " WHERE c.op = 'remove'",
    "a checkpoint of a finished ingest": "SELECT s.model_id FROM checkpoints c JOIN models m ON m.name = c.name"
    " JOIN statistics s ON s.model_id = m.id AND s.encoder_id = c.encoder_id"
    " WHERE s.source_digest = c.source_digest",
}
"""Queries that must find nothing, and what it is that they would find."""


@dataclass(frozen=True, eq=False)
class Row:
    """One model as stored. ``mean`` ``(d,)``, ``covariance`` ``(d, d)`` float64 or None."""

    id: int
    name: str
    description: str | None
    fields: dict[str, Any]
    tags: tuple[str, ...]
    samples: int
    epsilon: float
    mean: Float64
    covariance: Float64 | None
    blobs: tuple[bytes, bytes | None]


@dataclass
class Truth:
    """Every model by name, and what is wrong with what is stored."""

    rows: dict[str, Row] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    revision: str = ""
    whitening: dict[str, NDArray[np.float32]] | None = None


def read_truth(url: str) -> Truth:
    """Everything of a database, in one read transaction."""
    engine = create_engine(url, poolclass=NullPool)
    truth = Truth()
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")

        def rows(statement: str) -> list[Any]:
            return list(connection.execute(text(statement)))

        truth.revision = rows("SELECT version_num FROM alembic_version")[0][0]
        tags: dict[int, list[str]] = {}
        for model_id, tag in rows("SELECT mt.model_id, t.name FROM model_tags mt JOIN tags t ON t.id = mt.tag_id"):
            tags.setdefault(model_id, []).append(tag)
        for row in rows(
            "SELECT m.id, m.name, m.description, m.author, m.license, m.base_model, s.samples, s.epsilon, s.mean,"
            " s.covariance, s.mean_checksum, s.checksum FROM models m JOIN statistics s ON s.model_id = m.id"
        ):
            _take(truth, row, tuple(sorted(tags.get(row.id, []))))
        for row in rows("SELECT model_id, count, data, checksum FROM sample_features"):
            if _sha(bytes(row.data)) != row.checksum:
                truth.broken.append(f"sample features of model id {row.model_id} do not match their checksum")
        for what, statement in ORPHANS.items():
            truth.broken += [f"{what}: id {found[0]}" for found in rows(statement)]
        if truth.revision != "0001":
            for data, expected in rows(
                "SELECT data, checksum FROM transforms WHERE active AND parameterisation = 'whitening'"
            ):
                if _sha(bytes(data)) != expected:
                    truth.broken.append("the whitening does not match its checksum")
                else:
                    truth.whitening = safetensors.load(bytes(data))
    engine.dispose()
    return truth


def _sha(*blobs: bytes) -> str:
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


def _take(truth: Truth, row: Any, tags: tuple[str, ...]) -> None:
    mean, packed = bytes(row.mean), None if row.covariance is None else bytes(row.covariance)
    if _sha(mean) != row.mean_checksum or _sha(mean, packed or b"") != row.checksum:
        truth.broken.append(f"{row.name}: the statistics do not match their checksum")
    if row.name in truth.rows:
        truth.broken.append(f"{row.name}: there are two models, or two statistics, of that name")
    d = len(mean) // 4
    covariance = None
    if packed is not None and len(packed) == 2 * d * (d + 1):
        lower = np.zeros((d, d))
        lower[np.tril_indices(d)] = np.frombuffer(packed, "<f4")
        covariance = lower + np.tril(lower, -1).T
    elif packed is not None:
        truth.broken.append(f"{row.name}: the covariance has another size than the mean")
    fields = {"description": row.description, "author": row.author, "license": row.license}
    fields["base_model"] = row.base_model
    truth.rows[row.name] = Row(
        row.id, row.name, row.description, fields, tags, row.samples, row.epsilon,
        np.frombuffer(mean, "<f4").astype(np.float64), covariance, (mean, packed),
    )  # fmt: skip


# --- the answers that searches must equal


def first_moments(rows: list[Row], query: NDArray[np.float32]) -> Float64:
    """cos(μ, h) of every model ``(n,)``."""
    means = np.stack([row.mean for row in rows])
    return means @ query.astype(np.float64) / np.linalg.norm(means, axis=1)


def densities(
    rows: list[Row], query: NDArray[np.float32], whitening: dict[str, NDArray[np.float32]] | None, weight: float
) -> Float64:
    """log N(h; μ, (1 − w)S + w·(WᵀW)⁻¹ + εI) of every model ``(n,)``; NaN for one without a covariance."""
    found = np.full(len(rows), np.nan)
    target = None
    if whitening is not None:
        wide = whitening["whiten"].astype(np.float64)
        target = np.linalg.inv(wide.T @ wide)
    for place, row in enumerate(rows):
        if row.covariance is None:
            continue
        own = row.covariance if target is None else (1 - weight) * row.covariance + weight * target
        sigma = own + row.epsilon * np.eye(len(own))
        found[place] = multivariate_normal(row.mean, sigma).logpdf(query.astype(np.float64))
    return found


def disagreement(
    what: str, rows: list[Row], expected: Float64, scores: NDArray[Any], ids: NDArray[Any], tolerance: float
) -> str | None:
    """Where an answer differs from the brute-force one, in words; None where it does not.

    Each answer must have its own model's score, and the scores must be the k best: ties may come in any order.
    """
    usable = np.flatnonzero(np.isfinite(expected))
    by_id = {rows[place].id: expected[place] for place in usable}
    k = min(len(ids), len(usable))
    found, values = [int(i) for i in ids[:k]], np.asarray(scores[:k], np.float64)
    if any(int(i) >= 0 for i in ids[k:]):
        return f"{what}: {sum(int(i) >= 0 for i in ids)} answers, {len(usable)} models can be answered"
    if len(set(found)) != k:
        return f"{what}: an id came twice, or too few came: {found}"
    strangers = [i for i in found if i not in by_id]
    if strangers:
        return f"{what}: answered with ids {strangers}, which the database does not have"
    allowed = tolerance * (1 + np.abs(values))
    own = np.array([by_id[i] for i in found])
    if (np.abs(own - values) > allowed).any():
        worst = int(np.argmax(np.abs(own - values) / allowed))
        return f"{what}: id {found[worst]} has the score {values[worst]:.6g}, by brute force {own[worst]:.6g}"
    best = np.sort(expected[usable])[::-1][:k]
    if (np.abs(best - values) > allowed).any():
        return f"{what}: these are not the {k} best: {json.dumps(found)}"
    return None
