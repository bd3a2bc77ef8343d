"""The papers' own experiments: retrieval by every method, sample size, drop-off, metadata, mixed and model queries."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import methods
from benchmarks.accuracy.judge import Int64, accuracy, scores_to_ranks
from benchmarks.accuracy.load import Bool, Float32, Models, Queries
from benchmarks.accuracy.methods import Moments
from benchmarks.accuracy.tables import Table, to_data
from engine.encoders.protocol import Encoder
from engine.evaluation.average_precision import average_precision
from engine.evaluation.figures import percent, with_interval
from engine.records import Statistics
from engine.scores import unit
from engine.scores.frechet import frechet_distance, statistics_to_cholesky

PAPERS = {
    "first moment": "1 inner product",
    "first + second moment": "d inner products",
    "Gaussian density": "d/2 inner products",
    "Monte-Carlo, all samples": "n inner products",
    "Monte-Carlo, 100 samples": "100 inner products",
    "best-1": "n inner products",
    "best-10": "n inner products",
}
"""Each method's cost for one query and one model, d = 256 and n the samples that are kept (500 or more)."""
MARGIN = 0.995
"""A stratum in which every method reaches this top-1 tells nothing of them."""


@dataclass
class Scored:
    """A part of the zoo with one set of queries: targets, and scores by method, computed when asked for."""

    models: Models
    moments: Moments
    queries: Queries
    targets: Bool
    known: dict[str, Float32] = field(default_factory=dict)

    def scores(self, method: str) -> Float32:
        """``(q, n)`` by one of ``PAPERS``."""
        if method not in self.known:
            self.known[method] = self._rules()[method]()
        return self.known[method]

    def ranks(self, method: str) -> Int64:
        """Ranks from 0 of each query's best right answer."""
        return scores_to_ranks(self.scores(method), self.targets)

    def _rules(self) -> dict[str, Callable[[], Float32]]:
        q, m, mo = self.queries.features, self.models, self.moments
        sampled = methods.from_samples
        return {
            "first moment": lambda: methods.first_moment(q, mo),
            "first + second moment": lambda: methods.first_second_moment(q, mo, m.scale),
            "Gaussian density": lambda: methods.gaussian_density(q, mo.mean, methods.with_epsilon(mo.covariance)),
            "Monte-Carlo, all samples": lambda: sampled(q, m.features, methods.monte_carlo(m.scale)),
            "Monte-Carlo, 100 samples": lambda: sampled(q, m.features, methods.monte_carlo(m.scale), 100),
            "best-1": lambda: sampled(q, m.features, methods.best_k(1)),
            "best-10": lambda: sampled(q, m.features, methods.best_k(10)),
        }


def score(models: Models, moments: Moments, queries: Queries) -> Scored:
    """Queries that have a right answer among the models, ready to be scored."""
    asked = queries.among(models)
    return Scored(models, moments, asked, asked.targets(models))


def strata(scored: Scored) -> dict[str, tuple[list[int], str]]:
    """Queries by their models' kind (and how a sketch was made): places, and why a stratum carries no signal, or ''.

    A query with several right answers belongs to no kind: such sets are one stratum.
    """
    queries = scored.queries
    kinds = dict(zip(scored.models.names, scored.models.kinds, strict=True))
    labels = [
        f"{kinds[right[0]] if queries.group == 'in-sample' else 'all kinds'} {how}".strip()
        for right, how in zip(queries.right, queries.how, strict=True)
    ]
    found = {}
    for label in sorted(set(labels)):
        places = [i for i, own in enumerate(labels) if own == label]
        owners = [queries.owners[i] for i in places]
        estimates = [accuracy(scored.ranks(method)[places], owners, 1) for method in PAPERS]
        chance = float(scored.targets[places].mean())
        why = ""
        if min(e.value for e in estimates) >= MARGIN:
            why = "too easy"
        elif max(e.low for e in estimates) <= 2 * chance:
            why = "no better than chance"
        found[label] = (places, why)
    return found


def retrieval(sets: Mapping[tuple[str, str], Scored]) -> Table:
    """Every method of the papers on every set of queries."""
    first = next(iter(sets.values()))
    table = Table(
        "accuracy_papers", "Retrieval by the papers' methods",
        f"Per cent among the {len(first.models)} models of *main*; brackets: 95 % bootstrap over models (unseen: over "
        "concepts). *With signal*: top-1 without strata that are too easy or no better than chance (listed in "
        "`accuracy_strata`).",
        ("query", "method", "cost of a model", "top-1", "top-5", "top-10", "with signal"),
    )  # fmt: skip
    for (modality, group), scored in sets.items():
        kept = [i for places, why in strata(scored).values() if not why for i in places]
        for method, cost in PAPERS.items():
            ranks, owners = scored.ranks(method), scored.queries.owners
            tops = {k: accuracy(ranks, owners, k) for k in (1, 5, 10)}
            signal = percent(float((ranks[kept] == 0).mean())) if kept else "–"
            shown = (with_interval(tops[1]), percent(tops[5].value), percent(tops[10].value), signal)
            table.add(
                (f"{modality}, {group}", method, cost, *shown),
                modality=modality, group=group, method=method, queries=len(ranks),
                top={str(k): to_data(top) for k, top in tops.items()}, with_signal=signal,
            )  # fmt: skip
    return table


def stratum_table(sets: Mapping[tuple[str, str], Scored]) -> Table:
    """Top-1 by kind of model and kind of sketch, and which strata carry no signal."""
    table = Table(
        "accuracy_strata", "By kind of model", "Top-1 in per cent.",
        ("query", "stratum", "queries", "first moment", "Gaussian density", "Monte-Carlo", "left out"),
    )  # fmt: skip
    shown = ("first moment", "Gaussian density", "Monte-Carlo, all samples")
    for (modality, group), scored in sets.items():
        for label, (places, why) in strata(scored).items():
            values = [float((scored.ranks(method)[places] == 0).mean()) for method in shown]
            table.add(
                (f"{modality}, {group}", label, str(len(places)), *map(percent, values), why or "no"),
                modality=modality, group=group, stratum=label, queries=len(places), why=why,
                top1=dict(zip(shown, values, strict=True)),
            )  # fmt: skip
    return table


def drop_off(sets: Mapping[tuple[str, str], Scored]) -> Table:
    """The ten best scores: do they fall away or stay flat?"""
    table = Table(
        "accuracy_dropoff", "How the ten best scores fall",
        "Mean over queries of (score − best) / the spread of the query's scores over the models, at ranks 1–10.",
        ("query", "method", *map(str, range(1, 11))),
    )  # fmt: skip
    for (modality, group), scored in sets.items():
        for method in ("first moment", "Gaussian density", "Monte-Carlo, all samples"):
            scores = scored.scores(method)
            best = -np.sort(-scores, axis=1)[:, :10]
            curve = ((best - best[:, :1]) / scores.std(axis=1, keepdims=True)).mean(axis=0)
            table.add(
                (f"{modality}, {group}", method, *(f"{value:.2f}" for value in curve)),
                modality=modality, group=group, method=method, curve=[round(float(v), 4) for v in curve],
            )  # fmt: skip
    return table


# --- metadata

FILLER = frozenset(
    (
        "a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its", "of", "off", "on", "one",
        "or", "out", "that", "the", "their", "to", "with",
    )
)  # fmt: skip


def metadata(encoder: Encoder, models: Models, sets: Mapping[tuple[str, str], Scored], texts: Sequence[str]) -> Table:
    """The baselines that look at the description alone; ``texts`` are the words of the text queries."""
    table = Table(
        "accuracy_metadata", "Searching what is said of a model instead of what it draws",
        "Top-1 / top-10 in per cent among *main*. Full-text search: SQLite FTS5, BM25, any word that is not filler; "
        "it can only answer texts. Embedded: cosine of the query's feature with the description's.",
        ("query", "full-text search", "description embedded", "first moment"),
    )  # fmt: skip
    embedded = encoder.texts_to_features(list(models.descriptions))
    for (modality, group), scored in sets.items():
        targets, queries = scored.targets, scored.queries
        cells: dict[str, Int64] = {"embedded": scores_to_ranks(queries.features @ embedded.T, targets)}
        cells["first moment"] = scored.ranks("first moment")
        if modality == "text":
            cells["full text"] = scores_to_ranks(full_text(models, texts), targets)
        shown = {name: f"{percent((r < 1).mean())} / {percent((r < 10).mean())}" for name, r in cells.items()}
        table.add(
            (f"{modality}, {group}", shown.get("full text", "–"), shown["embedded"], shown["first moment"]),
            modality=modality, group=group, shown=shown,
        )  # fmt: skip
    return table


def full_text(models: Models, texts: Sequence[str]) -> Float32:
    """BM25 of each text's words in the descriptions ``(q, n)`` by SQLite's FTS5; −inf where no word is found."""
    scores = np.full((len(texts), len(models)), -np.inf, np.float32)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE said USING fts5(description, tokenize='porter')")
    database.executemany(
        "INSERT INTO said(rowid, description) VALUES (?, ?)", list(enumerate(models.descriptions, start=1))
    )
    for row, text in enumerate(texts):
        words = [word for word in re.findall(r"\w+", text.lower()) if word not in FILLER]
        if words:
            asked = " OR ".join(f'"{word}"' for word in words)
            found = database.execute("SELECT rowid, -bm25(said) FROM said WHERE said MATCH ?", (asked,))
            for place, value in found:
                scores[row, place - 1] = value
    database.close()
    return scores


# --- models as queries


def similar_models(models: Models, moments: Moments) -> Table:
    """Average precision of a model's neighbours against shared concepts, by cosine of means and by Fréchet distance."""
    n = len(models)
    statistics = [
        Statistics(mean.astype(np.float32), covariance.astype(np.float32), int(count), methods.EPSILON)
        for mean, covariance, count in zip(moments.mean, moments.covariance, moments.samples, strict=True)
    ]
    factors = [statistics_to_cholesky(s) for s in statistics]
    frechet = np.zeros((n, n), np.float32)
    for i in range(n):
        for j in range(i):
            frechet[i, j] = frechet[j, i] = -frechet_distance(
                statistics[i].mean, factors[i], statistics[j].mean, factors[j]
            )
    means = unit(moments.mean)

    def others(scores: Float32, own: int) -> NDArray[np.int64]:
        order = np.argsort(-scores, kind="stable")
        return order[order != own]

    table = Table(
        "accuracy_similar", "Similar models",
        "Mean average precision in per cent over the models of *main* that share the property with another; chance "
        "is the share of right answers.",
        ("right answers share", "models", "chance", "cosine of means", "Fréchet distance"),
    )  # fmt: skip
    for name, labels in (("the concept", models.concepts), ("the style", models.styles), ("the kind", models.kinds)):
        relevant = np.array([[a is not None and a == b and i != j for j, b in enumerate(labels)]
                             for i, a in enumerate(labels)])  # fmt: skip
        rows = np.flatnonzero(relevant.any(axis=1))
        values = [
            float(np.mean([average_precision(others(s[i], i), np.flatnonzero(relevant[i])) for i in rows]))
            for s in (means @ means.T, frechet)
        ]
        chance = float(relevant[rows].sum() / (len(rows) * (n - 1)))
        table.add(
            (name, str(len(rows)), percent(chance), *map(percent, values)),
            label=name, models=len(rows), chance=chance, cosine=values[0], frechet=values[1],
        )  # fmt: skip
    return table
