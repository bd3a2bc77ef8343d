"""Learned transforms, by the engine's own ``engine.learning``: trained on *synthetic* and tested on *main*, and 5-fold.

Chance, pre-trained and learned always stand together. Three seeds; intervals are of the first.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from benchmarks.accuracy import methods
from benchmarks.accuracy.further import Further
from benchmarks.accuracy.judge import Difference, Int64, accuracy, compare, scores_to_ranks
from benchmarks.accuracy.load import Float32
from benchmarks.accuracy.papers import Scored
from benchmarks.accuracy.tables import Table, read_rows, to_data
from engine.evaluation.figures import in_points, percent, with_interval
from engine.learning import TrainingOptions, TrainingSet, cross_validate, train_on_all
from engine.scores import unit

SEEDS = (0, 1, 2)
FORMS = ("diagonal", "triangular", "full")
MODALITIES = ("sketch", "image", "text")
ENCODERS = ("compact", "efficientnet")


def training_set(scored: Scored, *, factors: bool) -> TrainingSet:
    """A part of the zoo with its in-sample queries, as the engine learns from it."""
    places = {name: i for i, name in enumerate(scored.models.names)}
    owners = np.array([places[right[0]] for right in scored.queries.right], np.int64)
    inverses, log_dets = None, None
    if factors:
        lowers = np.linalg.cholesky(methods.with_epsilon(scored.moments.covariance))
        eye = np.eye(lowers.shape[-1])
        inverses = np.stack([solve_triangular(lower, eye, lower=True) for lower in lowers]).astype(np.float32)
        log_dets = 2 * np.log(np.diagonal(lowers, axis1=1, axis2=2)).sum(axis=1)
    means = scored.moments.mean.astype(np.float32)
    return TrainingSet(scored.queries.features, owners, means, inverses, log_dets, scored.models.scale)


def transformed(scored: Scored, method: str, matrix: NDArray[np.float32]) -> Float32:
    """cos(Aμ̃, Ah̃), or log N(h̃; μ, AΣAᵀ)."""
    queries, moments = scored.queries.features, scored.moments
    if method == "first_moment":
        return unit(queries @ matrix.T) @ unit(unit(moments.mean) @ matrix.T).T
    wide = matrix.astype(np.float64)
    covariance = wide @ methods.with_epsilon(moments.covariance) @ wide.T
    return methods.gaussian_density(queries, moments.mean, (covariance + covariance.transpose(0, 2, 1)) / 2)


def pretrained(scored: Scored, method: str) -> Int64:
    """Ranks without a transform."""
    return scored.ranks("first moment" if method == "first_moment" else "Gaussian density")


def learned_table(all_: Further, encoder: str = "compact") -> Table:
    """Every form on every modality by both protocols."""
    table = Table(
        tables_name(encoder), f"Learned transforms of {encoder}",
        "Top-1 in per cent on *main*: chance, pre-trained, learned (median of three seeds, [lowest–highest]), and the "
        "gain of the first seed with its 95 % interval. *Synthetic → main* learns from in-sample queries of "
        "*synthetic*, *5-fold* from four fifths of *main*'s models, tested on the rest.",
        ("query", "method", "form", "protocol", "chance", "pre-trained", "learned", "gain"),
    )  # fmt: skip

    def add(modality: str, group: str, method: str, form: str, protocol: str, before: Int64, after: list[Int64],
            owners: tuple[str, ...], chance: float) -> None:  # fmt: skip
        tops = sorted(float((own == 0).mean()) for own in after)
        gain = compare(after[0], before, owners)
        table.add(
            (f"{modality}, {group}", method, form, protocol, percent(chance),
             with_interval(accuracy(before, owners, 1)),
             f"{percent(float(np.median(tops)))} [{percent(tops[0])}–{percent(tops[-1])}]", in_points(gain)),
            modality=modality, group=group, method=method, form=form, protocol=protocol, chance=chance,
            pretrained=float((before == 0).mean()), learned=tops, gain=to_data(gain),
        )  # fmt: skip
        print(table.rows[-1], file=sys.stderr, flush=True)
        table.write()  # what is done is kept

    def across(modality: str, method: str, form: str) -> None:
        data = training_set(all_.scored("synthetic", modality, "in-sample"), factors=method == "gaussian_density")
        matrices = [train_on_all(data, TrainingOptions(method, form, seed=seed)).matrix for seed in SEEDS]
        for group in ("in-sample",) if modality == "text" else ("in-sample", "unseen"):
            scored = all_.scored("main", modality, group)
            after = [scores_to_ranks(transformed(scored, method, m), scored.targets) for m in matrices]
            chance = float(scored.targets.mean())
            before = pretrained(scored, method)
            add(modality, group, method, form, "synthetic → main", before, after, scored.queries.owners, chance)

    def folded(modality: str, form: str) -> None:
        scored = all_.scored("main", modality, "in-sample")
        data = training_set(scored, factors=False)
        after, before, owners = [], np.empty(0, np.int64), ()
        for seed in SEEDS:
            folds = cross_validate(data, TrainingOptions("first_moment", form, seed=seed)).folds
            after.append(np.concatenate([fold.learned for fold in folds]) - 1)
            if seed == SEEDS[0]:
                before = np.concatenate([fold.pretrained for fold in folds]) - 1
                owners = tuple(scored.models.names[i] for fold in folds for i in fold.owners)
        add(modality, "in-sample", "first_moment", form, "5-fold", before, after, owners, 1 / len(scored.models))

    modalities = [modality for modality in MODALITIES if (modality, "in-sample") in all_.queries]
    for modality, form in product(modalities, FORMS):
        across(modality, "first_moment", form)
    for modality, form in product(modalities, FORMS):
        folded(modality, form)
    for modality in ("image", "sketch"):
        across(modality, "gaussian_density", "diagonal")
    return table


def tables_name(encoder: str) -> str:
    """Where an encoder's learned transforms are written."""
    return "accuracy_learned" if encoder == "compact" else f"accuracy_learned_{encoder}"


def read_claims() -> dict[str, Difference]:
    """The gains of sketches by first moment, as last measured."""
    return {
        f"{encoder}, {row['form']}, {row['protocol']}": Difference(**row["gain"])
        for encoder in ENCODERS
        for row in read_rows(tables_name(encoder))
        if (row["modality"], row["group"], row["method"]) == ("sketch", "in-sample", "first_moment")
    }
