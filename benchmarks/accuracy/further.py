"""Beyond the papers: every choice is made on *synthetic*, every figure is of *main*."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any

import numpy as np

from benchmarks.accuracy import beyond, methods
from benchmarks.accuracy.judge import Int64, accuracy, compare, scores_to_ranks
from benchmarks.accuracy.load import Float32, Models, Queries
from benchmarks.accuracy.papers import Scored, score
from benchmarks.accuracy.tables import Table, to_data
from engine.evaluation.figures import in_points, percent, with_interval
from engine.scores import unit
from engine.search.spaces import LEAST_WEIGHT

SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.3)
DECAYS = (0.0, 0.01, 0.1)
SEEDS = (0, 1, 2)
WEIGHTS = (0.0, 0.1, 0.3, 0.6, 0.8)
EPSILONS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
POWERS = (0.125, 0.25, 0.375, 0.5)
RANKS = (64, 255)
SHIFT_WEIGHTS = (0.5, 1.0)
SHIFT_POOLED = (0.3, 0.6)
FOLDS = 5
STACKED = ("best-10",)


@dataclass
class Choices:
    """What was chosen on *synthetic*, and how well each candidate did there."""

    whitening: float
    pooled: float
    decay: float
    shift_rank: int
    shift_weight: float
    shift_pooled: float
    power: float
    likely_epsilon: float
    tried: dict[str, dict[str, float]]


def top1(scores: Float32, scored: Scored) -> float:
    """Top-1 of a score ``(q, n)``."""
    return float((scores_to_ranks(scores, scored.targets) == 0).mean())


def best_of(tried: Mapping[Any, float]) -> Any:
    """The candidate that did best; of equals the first."""
    return max(tried, key=lambda candidate: tried[candidate])


def paired_sketches(images: Queries, sketches: Queries) -> tuple[Float32, Float32]:
    """In-sample pictures and their sketches, ``(s, d)`` each. Sketches come in their pictures' order, by method."""
    rows = {right: [i for i, own in enumerate(images.right) if own == right] for right in dict.fromkeys(images.right)}
    each = len(sketches) // len(images)
    seen = dict.fromkeys(rows, 0)
    places = []
    for right in sketches.right:
        places.append(rows[right][seen[right] // each])
        seen[right] += 1
    return images.features[places], sketches.features


class Further:
    """Both parts of the zoo with all queries, and what is fitted on one for use on the other."""

    def __init__(self, models: Models, queries: Mapping[tuple[str, str], Queries]) -> None:
        self.queries = queries
        self.parts = {part: models.part(part) for part in ("synthetic", "main")}
        self.moments = {part: methods.features_to_moments(own.features) for part, own in self.parts.items()}
        self._scored: dict[tuple[str, str, str], Scored] = {}

    def scored(self, part: str, modality: str, group: str) -> Scored:
        """One set of queries on one part."""
        key = (part, modality, group)
        if key not in self._scored:
            self._scored[key] = score(self.parts[part], self.moments[part], self.queries[modality, group])
        return self._scored[key]

    @cached_property
    def pairs(self) -> tuple[Float32, Float32]:
        """Pictures and their sketches of *synthetic*."""
        return paired_sketches(
            self.scored("synthetic", "image", "in-sample").queries,
            self.scored("synthetic", "sketch", "in-sample").queries,
        )

    def shift(self, rank: int) -> beyond.DomainShift:
        """The sketches' domain shift, from *synthetic*."""
        return beyond.fit_shift(*self.pairs, rank)

    def _folds(self, scored: Scored) -> Int64:
        """Which fold of *synthetic* each query belongs to: by concept, so that a fold's shift has not seen it."""
        part = self.parts["synthetic"]
        concept = {name: own or name for name, own in zip(part.names, part.concepts, strict=True)}
        known = sorted(set(concept.values()))
        fold = dict(zip(known, np.random.default_rng(0).permutation(len(known)) % FOLDS, strict=True))
        return np.array([fold[concept[right[0]]] for right in scored.queries.right], np.int64)

    def shifted(self, part: str, group: str, rank: int, share: float, weight: float) -> Float32:
        """Densities of sketches. On *synthetic*, where the shift is from, each fold is scored by the others' shift."""
        scored, moments = self.scored(part, "sketch", group), self.moments[part]
        covariance, queries = beyond.toward_pooled(moments, weight), scored.queries.features
        if part != "synthetic":
            return beyond.shifted_density(queries, moments.mean, covariance, self.shift(rank), share)
        own, paired = self._folds(scored), self._folds(self.scored("synthetic", "sketch", "in-sample"))
        result = np.empty((len(queries), len(moments.mean)), np.float32)
        for fold in range(FOLDS):
            shift = beyond.fit_shift(*(side[paired != fold] for side in self.pairs), rank)
            result[own == fold] = beyond.shifted_density(queries[own == fold], moments.mean, covariance, shift, share)
        return result

    @cached_property
    def choices(self) -> Choices:
        """Each by mean top-1 of in-sample and unseen queries on *synthetic*."""
        tried: dict[str, dict[Any, float]] = {
            "whitening": {}, "decay": {}, "pooled": {}, "shift": {}, "power": {}, "epsilon": {},
        }  # fmt: skip
        moments = self.moments["synthetic"]
        images = [self.scored("synthetic", "image", group) for group in ("in-sample", "unseen")]
        sketches = [self.scored("synthetic", "sketch", group) for group in ("in-sample", "unseen")]
        mean = lambda rule, sets: float(np.mean([top1(rule(s.queries.features), s) for s in sets]))  # noqa: E731
        for shrinkage in SHRINKAGES:
            whitening = beyond.fit_whitening(moments, shrinkage)
            tried["whitening"][shrinkage] = mean(
                lambda q, w=whitening: beyond.whitened_first_moment(q, moments, w), images
            )
        whitening = beyond.fit_whitening(moments, float(best_of(tried["whitening"])))
        for decay in DECAYS:
            fitted = beyond.fit_discriminative(self.parts["synthetic"].features, moments, whitening, decay, SEEDS[0])
            tried["decay"][decay] = mean(fitted, images)
        for weight in WEIGHTS:
            covariance = beyond.toward_pooled(moments, weight)
            tried["pooled"][weight] = mean(lambda q, c=covariance: methods.gaussian_density(q, moments.mean, c), images)
        for power in POWERS:
            tried["power"][power] = mean(
                lambda q, p=power: beyond.partly_whitened_best_10(q, self.parts["synthetic"].features, moments, p),
                images,
            )
        for epsilon in EPSILONS:
            density = methods.gaussian_density(
                images[0].queries.features, moments.mean, methods.with_epsilon(moments.covariance, epsilon)
            )
            tried["epsilon"][epsilon] = float(density[images[0].targets].mean())  # held out: fresh draws, in nats
        for rank, share, weight in product(RANKS, SHIFT_WEIGHTS, SHIFT_POOLED):
            tried["shift"][rank, share, weight] = float(np.mean([
                top1(self.shifted("synthetic", s.queries.group, rank, share, weight), s) for s in sketches
            ]))  # fmt: skip
        rank, share, weight = best_of(tried["shift"])
        return Choices(
            float(best_of(tried["whitening"])), float(best_of(tried["pooled"])), float(best_of(tried["decay"])),
            int(rank), float(share), float(weight), float(best_of(tried["power"])), float(best_of(tried["epsilon"])),
            {name: {str(candidate): value for candidate, value in found.items()} for name, found in tried.items()},
        )  # fmt: skip

    def rules(self, part: str, modality: str) -> dict[str, Callable[[Scored], Float32]]:
        """The further methods for a modality on a part, with the choices made."""
        chosen, moments, features = self.choices, self.moments[part], self.parts[part].features
        pooled = beyond.toward_pooled(moments, chosen.pooled)

        def density(scored: Scored) -> Float32:
            return self._kept(
                scored, "density toward pooled",
                lambda: methods.gaussian_density(scored.queries.features, moments.mean, pooled),
            )  # fmt: skip

        pictures = {
            "density toward pooled": density,
            "best-10, partly whitened": lambda s: beyond.partly_whitened_best_10(
                s.queries.features, features, moments, chosen.power
            ),
            "best-10, calibrated": lambda s: beyond.calibrated(s.scores("best-10"), self.background(part, modality)),
            "blend": lambda s: beyond.blended(density(s), s.scores("best-10")),
        }
        if modality == "image":
            whitening = beyond.fit_whitening(moments, chosen.whitening)
            return {
                "whitened first moment": lambda s: beyond.whitened_first_moment(s.queries.features, moments, whitening),
                "linear discriminant": lambda s: beyond.linear_discriminant(s.queries.features, moments, whitening),
                "linear density": lambda s: beyond.linear_density(s.queries.features, moments, chosen.pooled),
                "discriminative first moment": lambda s: self.discriminative(part, SEEDS[0])(s.queries.features),
                "density, ε by likelihood": lambda s: methods.gaussian_density(
                    s.queries.features, moments.mean,
                    methods.with_epsilon(moments.covariance, chosen.likely_epsilon),
                ),
                "mixture of three": lambda s: beyond.mixture_density(
                    s.queries.features, features, moments, chosen.pooled, 3
                ),
                **pictures,
            }  # fmt: skip
        if modality == "sketch":
            whitening = beyond.fit_whitening(moments, chosen.whitening, self.shift(RANKS[-1]).covariance)
            shift = self.shift(chosen.shift_rank)
            return {
                "whitened with the shift": lambda s: beyond.whitened_first_moment(
                    s.queries.features, moments, whitening, shift.mean
                ),
                "density with the shift": lambda s: self.shifted(
                    part, s.queries.group, chosen.shift_rank, chosen.shift_weight, chosen.shift_pooled
                ),
                **pictures,
            }
        return {
            "prompt ensemble": lambda s: methods.first_moment(self.ensemble(s.queries), moments),
            "modality means subtracted": lambda s: methods.first_moment(self.without_gap(s.queries.features), moments),
            "ensemble, Monte-Carlo": lambda s: methods.from_samples(
                self.ensemble(s.queries), self.parts[part].features, methods.monte_carlo(s.models.scale)
            ),
        }

    @staticmethod
    def _kept(scored: Scored, name: str, make: Callable[[], Float32]) -> Float32:
        if name not in scored.known:
            scored.known[name] = make()
        return scored.known[name]

    def background(self, part: str, modality: str) -> Float32:
        """Best-10 of a part's models for the other part's in-sample queries: ``(b, n)``."""
        other = "main" if part == "synthetic" else "synthetic"
        asked = self.scored(other, modality, "in-sample").queries.features[::5]
        return methods.from_samples(asked, self.parts[part].features, methods.best_k(10))

    @cache  # noqa: B019  # there is one, and it lives as long as the program
    def discriminative(self, part: str, seed: int) -> beyond.Discriminative:
        """Softmax regression on the samples of a part's models."""
        moments = self.moments[part]
        whitening = beyond.fit_whitening(moments, self.choices.whitening)
        return beyond.fit_discriminative(self.parts[part].features, moments, whitening, self.choices.decay, seed)

    def ensemble(self, queries: Queries) -> Float32:
        """The mean of a text's features over all phrasings."""
        names = {right: i for i, right in enumerate(self.queries["text", "in-sample"].right)}
        places = [names[right] for right in queries.right]
        said = [q.features[places] for (modality, _), q in self.queries.items() if modality.startswith("text")]
        return unit(np.mean(said, axis=0))

    def without_gap(self, texts: Float32) -> Float32:
        """Less the mean text of *synthetic*, plus its mean picture."""
        told = self.scored("synthetic", "text", "in-sample").queries.features.mean(axis=0)
        return unit(texts - told + self.moments["synthetic"].mean.mean(axis=0))

    def evidence(self, part: str, modality: str, group: str) -> dict[str, Float32]:
        """Scores of every method: the papers' and the further ones, and their stack."""
        scored = self.scored(part, modality, group)
        published = ("first moment", "Gaussian density", "Monte-Carlo, all samples", "best-10")
        found = {name: scored.scores(name) for name in published}
        return found | {name: rule(scored) for name, rule in self.rules(part, modality).items()}

    @cache  # noqa: B019  # as above
    def stack(self, modality: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Which scores are stacked for a modality, and their weights, fitted on *synthetic*."""
        added = {"image": "density toward pooled", "sketch": "density with the shift", "text": "prompt ensemble"}
        names = ("first moment", *STACKED, added[modality]) if modality == "text" else (*STACKED, added[modality])
        groups = ("in-sample",) if modality == "text" else ("in-sample", "unseen")
        weights = []
        for group in groups:
            scored, evidence = self.scored("synthetic", modality, group), self.evidence("synthetic", modality, group)
            weights.append(beyond.fit_stack([evidence[name] for name in names], scored.targets))
        return names, np.mean(weights, axis=0)


def further_table(all_: Further) -> tuple[Table, dict[tuple[str, str], dict[str, Int64]]]:
    """Every method of both kinds on *main*; ranks by (modality, group) and method."""
    table = Table(
        "accuracy_further", "Beyond the papers",
        f"Top-k in per cent among the {len(all_.parts['main'])} models of *main*; shrinkages, ranks, weights and "
        "stacks were chosen on *synthetic*. Last column: top-1 less first moment's, with its 95 % interval.",
        ("query", "method", "top-1", "top-5", "top-10", "against first moment"),
    )  # fmt: skip
    found: dict[tuple[str, str], dict[str, Int64]] = {}
    for modality, group in (
        ("image", "in-sample"), ("image", "unseen"), ("sketch", "in-sample"), ("sketch", "unseen"),
        ("text", "in-sample"),
    ):  # fmt: skip
        scored = all_.scored("main", modality, group)
        evidence = all_.evidence("main", modality, group)
        names, weights = all_.stack(modality)
        evidence["stack"] = beyond.stacked([evidence[name] for name in names], weights)
        ranks = {name: scores_to_ranks(scores, scored.targets) for name, scores in evidence.items()}
        found[modality, group] = ranks
        owners = scored.queries.owners
        for name, own in ranks.items():
            tops = {k: accuracy(own, owners, k) for k in (1, 5, 10)}
            gain = compare(own, ranks["first moment"], owners)
            more: dict[str, Any] = {}
            if name == "discriminative first moment":
                fits = [all_.discriminative("main", seed) for seed in SEEDS]
                more["top1_of_seeds"] = [top1(fit(scored.queries.features), scored) for fit in fits]
            if name == "stack":
                more["stack"] = dict(zip(names, np.round(weights, 4).tolist(), strict=True))
            table.add(
                (f"{modality}, {group}", name, with_interval(tops[1]), percent(tops[5].value), percent(tops[10].value),
                 in_points(gain)),
                modality=modality, group=group, method=name, gain=to_data(gain),
                top={str(k): to_data(top) for k, top in tops.items()},
                **more,
            )  # fmt: skip
    return table, found


def sample_sizes(all_: Further, counts: Sequence[int] = (10, 30, 100, 300, 500)) -> Table:
    """In-sample image top-1 with statistics from the first samples of each model, by estimator of the covariance."""
    scored = {part: all_.scored(part, "image", "in-sample") for part in all_.parts}
    table = Table(
        "accuracy_samples", "Statistics from fewer samples",
        "In-sample image top-1 in per cent on *main*. The weight toward the pooled covariance is chosen on *synthetic* "
        "for each number of samples.",
        ("estimator", *(f"{count}" for count in counts)),
    )  # fmt: skip
    rows: dict[str, list[float]] = {}
    for count in counts:
        kept = {part: methods.features_to_moments(own.features, count) for part, own in all_.parts.items()}
        moments, queries = kept["main"], scored["main"].queries.features
        density = lambda c, m=moments, q=queries: methods.gaussian_density(q, m.mean, c)  # noqa: E731
        tried = {}
        for weight in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
            covariance = beyond.toward_pooled(kept["synthetic"], weight)
            own = methods.gaussian_density(scored["synthetic"].queries.features, kept["synthetic"].mean, covariance)
            tried[weight] = top1(own, scored["synthetic"])
        weight = float(best_of(tried))
        samples = [rows_[:count] for rows_ in all_.parts["main"].features]
        whitening = beyond.fit_whitening(moments, all_.choices.whitening)
        estimates = {
            "first moment": methods.first_moment(queries, moments),
            "whitened first moment": beyond.whitened_first_moment(queries, moments, whitening),
            "density, S + εI": density(methods.with_epsilon(moments.covariance)),
            "density, Ledoit–Wolf": density(np.stack([beyond.ledoit_wolf(x) for x in samples]) + 1e-6 * np.eye(256)),
            "density, OAS": density(np.stack([beyond.oracle_approximating(x) for x in samples]) + 1e-6 * np.eye(256)),
            "density, toward pooled": density(beyond.toward_pooled(moments, weight)),
            "Monte-Carlo": methods.from_samples(
                queries, all_.parts["main"].features, methods.monte_carlo(scored["main"].models.scale), count
            ),
        }
        for name, scores in estimates.items():
            rows.setdefault(name, []).append(top1(scores, scored["main"]))
    for name, values in rows.items():
        table.add((name, *map(percent, values)), estimator=name, top1=dict(zip(map(str, counts), values, strict=True)))
    return table


def two_stage(models: Models, queries: Queries, choices: Choices) -> Table:
    """How much of an exhaustive density's top ten survives a shortlist, over the whole zoo."""
    moments = methods.features_to_moments(models.features)
    asked = queries.features
    whitening = beyond.fit_whitening(moments, choices.whitening)
    densities = {
        "Gaussian density": methods.with_epsilon(moments.covariance),
        "density toward pooled": beyond.toward_pooled(moments, choices.pooled),
    }
    spaces = {
        "first moment": methods.first_moment(asked, moments),
        "whitened first moment": beyond.whitened_first_moment(asked, moments, whitening),
        "linear discriminant": beyond.linear_discriminant(asked, moments, whitening),
    }
    weights = {"Gaussian density": LEAST_WEIGHT, "density toward pooled": choices.pooled}
    table = Table(
        "accuracy_two_stage", "Two stages against one",
        f"Share of the places of the exhaustive density's top ten that a re-ranked shortlist gets right, in per cent, "
        f"over all {len(models)} models and {len(queries)} image queries; in brackets, of the first place.",
        ("exhaustive", "shortlist space", "25", "50", "100", "200"),
    )  # fmt: skip
    for density, covariance in densities.items():
        exact = methods.gaussian_density(asked, moments.mean, covariance)
        wanted = np.argsort(-exact, axis=1)[:, :10]
        linear = beyond.linear_density(asked, moments, weights[density])
        for name, scores in (*spaces.items(), ("linear density", linear)):
            order = np.argsort(-scores, axis=1)
            cells, data = [], {}
            for size in (25, 50, 100, 200):
                place = np.zeros_like(exact, bool)
                np.put_along_axis(place, order[:, :size], True, axis=1)
                ranked = np.argsort(-np.where(place, exact, -np.inf), axis=1)[:, :10]
                same, first = float((ranked == wanted).mean()), float((ranked[:, 0] == wanted[:, 0]).mean())
                cells.append(f"{100 * same:.2f} ({100 * first:.2f})")
                data[str(size)] = {"places": same, "first": first}
            table.add((density, name, *cells), exhaustive=density, space=name, shortlist=data)
    return table
