"""Judged queries to a report: encode once, rank by every method, break down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.encoders.protocol import Encoder
from engine.evaluation.bootstrap import RESAMPLES, estimate
from engine.evaluation.breakdown import answers_to_rows, queries_to_cuts
from engine.evaluation.confusion import answers_to_confusions
from engine.evaluation.encoding import queries_to_parts
from engine.evaluation.judging import Answers, Planner, judge, methods_to_plans
from engine.evaluation.progress import OnProgress, silent
from engine.evaluation.queries import PARTS, JudgedQuery, check_models
from engine.evaluation.records import Comparison, DropOff, Latency, Row, SamplesPoint, Stratum
from engine.evaluation.report import Report
from engine.evaluation.samples_curve import Densities, Reader, samples_to_ranks
from engine.evaluation.wanted import Wanted, queries_to_wanted
from engine.numbers import checked_whole
from engine.records import EncoderIdentity, Model, QueryPart
from engine.rerank.statistics_cache import StatisticsCache

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Subject:
    """The collection that is judged: its models by name, and how it encodes, plans, scores and reads samples."""

    models: Mapping[str, Model]
    identity: EncoderIdentity
    encoder: Callable[[], Encoder]
    plan_for: Planner
    evidence: StatisticsCache
    read_samples: Reader
    densities: Densities
    max_pixels: int


@dataclass(frozen=True)
class EvaluationOptions:
    """What is asked; see ``Engine.evaluate``."""

    methods: tuple[str, ...]
    shortlist: int
    resamples: int = RESAMPLES
    seed: int = 0
    full_ranking: bool = True
    samples_curve: bool = False

    def __post_init__(self) -> None:
        for name, least in {"shortlist": 1, "resamples": 1, "seed": 0}.items():
            checked_whole(getattr(self, name), name, least)


def queries_to_report(
    queries: Sequence[JudgedQuery], subject: Subject, options: EvaluationOptions, on_progress: OnProgress = silent
) -> Report:
    """Evaluate. What can be wrong with queries and methods is found before anything is encoded.

    Raises:
        ModelNotFound, InvalidQuery, InvalidImage
        MissingStatistics: a right model has no usable statistics of the encoder, or none has what a method needs.
    """
    check_models(queries, subject.models)
    modalities = list(dict.fromkeys(query.modality for query in queries))
    plans = methods_to_plans(options.methods, modalities, subject.plan_for)
    ids = next(iter(plans.values())).view.index.ids
    wanted = queries_to_wanted(queries, subject.models, ids, subject.identity.name)
    places = {m: np.array([i for i, query in enumerate(queries) if query.modality == m]) for m in modalities}
    parts, encode_ms = queries_to_parts(queries, subject.identity, subject.encoder, subject.max_pixels, on_progress)
    answers = judge(
        parts, wanted, places, plans, subject.evidence,
        shortlist=options.shortlist, full_ranking=options.full_ranking, on_progress=on_progress,
    )  # fmt: skip
    rows: list[Row] = []
    strata: list[Stratum] = []
    comparisons: list[Comparison] = []
    for modality in modalities:
        of_modality = [answer for answer in answers if answer.modality == modality]
        if of_modality:
            cuts = queries_to_cuts(queries, subject.models, modality, places[modality])
            found = answers_to_rows(
                of_modality, wanted.take(places[modality]), cuts, len(ids), options.resamples, options.seed
            )  # fmt: skip
            rows += found[0]
            strata += found[1]
            comparisons += found[2]
    names = {model.id: name for name, model in subject.models.items()}
    curve = _samples_curve(parts, wanted, places, ids, subject, options, on_progress) if options.samples_curve else []
    return Report(
        encoder=subject.identity.name,
        models=len(ids),
        queries=len(queries),
        untagged=sum(not len(relevant) for relevant in wanted.relevant),
        methods=options.methods,
        shortlist=options.shortlist,
        resamples=options.resamples,
        seed=options.seed,
        chance=wanted.chance(len(ids)),
        rows=tuple(rows),
        strata=tuple(strata),
        comparisons=tuple(comparisons),
        latencies=tuple(_latencies(encode_ms, places, answers)),
        drop_offs=tuple(DropOff(a.modality, a.method, _mean_curve(a.drop_off)) for a in answers),
        confusions=tuple(answers_to_confusions(a, names) for a in answers),
        samples_curve=tuple(curve),
    )


def _latencies(encode_ms: Float64, places: Mapping[str, Int64], answers: Sequence[Answers]) -> list[Latency]:
    encoding = [_latency("encode", modality, None, encode_ms[at]) for modality, at in places.items()]
    return encoding + [_latency("rank", answer.modality, answer.method, answer.rank_ms) for answer in answers]


def _latency(stage: str, modality: str, method: str | None, took: Float64) -> Latency:
    return Latency(stage, modality, method, float(np.median(took)), float(np.percentile(took, 95)))


def _mean_curve(curves: Float64) -> tuple[float, ...]:
    """The mean of curves ``(q, n)`` at each place, over those that reach so far."""
    known = ~np.isnan(curves)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, curves, 0.0).sum(axis=0) / known.sum(axis=0)
    return tuple(float(value) for value in mean)


def _samples_curve(
    parts: Sequence[Sequence[QueryPart]],
    wanted: Wanted,
    places: Mapping[str, Int64],
    ids: Int64,
    subject: Subject,
    options: EvaluationOptions,
    on_progress: OnProgress,
) -> list[SamplesPoint]:
    single = {m: at for m, at in places.items() if m in PARTS}
    features = {m: np.stack([parts[i][0].feature for i in at]) for m, at in single.items()}
    asked = {m: wanted.take(at) for m, at in single.items()}
    right = {m: own.right for m, own in asked.items()}
    ranks = samples_to_ranks(features, right, ids, subject.read_samples, subject.densities, on_progress)
    return [
        SamplesPoint(
            modality, method, samples,
            estimate((found == 1).astype(np.float64), asked[modality].owners, options.resamples, options.seed),
        )
        for (modality, method, samples), found in ranks.items()
    ]  # fmt: skip
