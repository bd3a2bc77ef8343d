"""Whole evaluations: the same answers as search, and measures recomputed from these in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from engine import Engine
from engine.errors import EncoderNotFound, InvalidQuery, MissingStatistics
from engine.evaluation import Report, judging
from engine.records import EncoderRef
from engine.samples import any_to_image
from engine.search import Ranking

METHODS = ("first_moment", "gaussian_density", "monte_carlo", "auto")


def rows(report: Report, by: str = "modality") -> dict[tuple[Any, ...], Any]:
    parts = lambda cut: tuple(part for part in (cut.modality, cut.group, cut.kind, cut.tag) if part)  # noqa: E731
    return {(*parts(row.cut), row.method): row for row in report.rows if row.cut.by == by}


@pytest.mark.parametrize("shortlist", [1, 200])
def test_hits_are_those_of_search(
    shortlist: int, eng: Engine, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every modality and method, one part and several: the same models, scores and shares."""
    answered: list[tuple[int, Ranking]] = []
    ask = judging.ask

    def recorded(plan, evidence, parts, k, shortlist) -> Ranking:
        ranking = ask(plan, evidence, parts, k, shortlist)
        answered.append((k, ranking))
        return ranking

    monkeypatch.setattr(judging, "ask", recorded)
    asked = 0
    for modality in ("image", "sketch", "text", "image+text"):
        chosen = [line for line in lines if set(line) & {"text", "image", "sketch"} == set(modality.split("+"))]
        for method in METHODS:
            if method == "gaussian_density" and "text" in modality:
                continue
            answered.clear()
            eng.evaluate(chosen, [method], shortlist=shortlist, full_ranking=False)
            for line, (_, ranking) in zip(chosen, answered[1:], strict=True):  # the first warms the caches
                given = {part: line[part] for part in modality.split("+")}
                hits = eng.search(**given, method=method, shortlist=shortlist)
                assert [hit.name for hit in hits] == eng.names(ranking.ids)
                np.testing.assert_allclose([hit.score for hit in hits], ranking.scores, rtol=1e-5, atol=1e-5)
                if len(given) > 1:
                    shares = [[hit.parts[part] for hit in hits] for part in ("text", "image")]
                    np.testing.assert_allclose(shares, ranking.parts, rtol=1e-5, atol=1e-5)
                asked += 1
    assert asked == 4 * (3 * 4 + 4 + 3 + 3)


def test_measures_are_those_of_the_hits(eng: Engine, queries: Path, lines: list[dict[str, Any]]) -> None:
    report = eng.evaluate(queries, ["first_moment"])
    models = {model.name: model for model in eng.models()}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        given = {part: line[part] for part in ("text", "image", "sketch") if part in line}
        names = [hit.name for hit in eng.search(**given, method="first_moment", k=4)]
        cell = found["+".join(sorted(given))]
        cell["top_1"].append(names[0] == line["model"])
        tags = set(models[line["model"]].tags)
        if tags:
            right = [bool(tags & set(models[name].tags)) for name in names]
            precisions = [sum(right[: j + 1]) / (j + 1) for j in range(4) if right[j]]
            cell["map"].append(sum(precisions) / sum(right))
    for (modality, _), row in rows(report).items():
        assert row.measures["top_1"].value == pytest.approx(np.mean(found[modality]["top_1"]))
        for name in ("map", "map_5", "map_10"):  # four models: all the same
            assert row.measures[name].value == pytest.approx(np.mean(found[modality]["map"]))
        assert row.measures["top_5"].value == row.measures["top_10"].value == 1
        assert row.untagged == row.queries // 4


def test_each_query_is_encoded_once(eng: Engine, queries: Path, encoder) -> None:
    eng.evaluate(queries, METHODS)
    assert (encoder.pictures, encoder.texts) == (12 + 4 + 4, 4 + 4)


def test_breakdown(eng: Engine, queries: Path) -> None:
    report = eng.evaluate(queries, ["first_moment", "gaussian_density"], resamples=100)
    assert (report.queries, report.models, report.untagged, report.chance) == (24, 4, 6, 0.25)
    assert {key[0] for key in rows(report)} == {"image", "sketch", "text", "image+text"}
    assert ("text", "gaussian_density") not in rows(report)
    groups = rows(report, "group")
    assert groups["image", "unseen", "first_moment"].queries == 4
    assert groups["image", "in-sample", "first_moment"].queries == 8
    tags = rows(report, "tag")
    assert tags["image", "cold", "first_moment"].models == 2
    kinds = rows(report, "kind")
    assert kinds["image", "unseen", "gan", "first_moment"].queries == 2
    assert kinds["text", "vae", "first_moment"].queries == 2
    assert {c.cut.label for c in report.comparisons} == {
        "image", "image, in-sample", "image, unseen", "sketch", "sketch, in-sample",
    }  # fmt: skip
    assert sum(row.queries for row in rows(report).values() if row.method == "first_moment") == 24
    whole = {(m.modality, m.method) for m in report.latencies if m.stage == "rank"}
    assert whole == {(key[0], key[-1]) for key in rows(report)}
    assert all(0 < latency.median <= latency.p95 for latency in report.latencies)


def test_auto_names_its_rule(eng: Engine, queries: Path) -> None:
    rules = {modality: row.rule for (modality, _), row in rows(eng.evaluate(queries)).items()}
    assert rules == {
        "image": "blend", "sketch": "blend", "text": "first_moment", "image+text": "first_moment",
    }  # fmt: skip


def test_the_average_without_strata_that_tell_nothing(eng: Engine, lines: list[dict[str, Any]]) -> None:
    """Green and red are always found by their names; blue and grey never, being asked for by each other's."""
    judged = [{"model": name, "text": name} for name in ("red", "green") for _ in range(3)]
    judged += [{"model": name, "text": "red"} for name in ("blue", "grey") for _ in range(2)]
    report = eng.evaluate(judged, ["first_moment"])
    verdicts = {stratum.cut.kind: stratum.verdict for stratum in report.strata}
    assert verdicts == {"gan": "too easy", "vae": "no signal"}
    (row,) = rows(report).values()
    assert (row.measures["top_1"].value, row.signal_queries, row.with_signal) == (0.6, 0, None)
    judged += [{"model": "red", "text": "green"}]  # gan is no longer too easy
    (row,) = rows(eng.evaluate(judged, ["first_moment"])).values()
    assert row.signal_queries == 7
    assert row.with_signal["top_1"].value == pytest.approx(6 / 7)
    assert row.measures["top_1"].value == pytest.approx(6 / 11)


def test_ten_best_alone(eng: Engine, queries: Path) -> None:
    report = eng.evaluate(queries, ["first_moment"], full_ranking=False)
    full = eng.evaluate(queries, ["first_moment"])
    for key, row in rows(report).items():
        assert math.isnan(row.measures["map"].value)
        assert row.measures["map_10"] == rows(full)[key].measures["map_10"]
    assert all(math.isnan(value) for found in report.drop_offs for value in found.curve)
    first = full.drop_offs[0].curve
    assert first[0] == 0
    assert first[0] > first[1] > first[2] > first[3]
    assert math.isnan(first[4])


def test_the_same_again(eng: Engine, queries: Path) -> None:
    one, other = (eng.evaluate(queries, METHODS, seed=5).to_dict() for _ in range(2))
    assert one.pop("latencies") != other.pop("latencies")
    assert one == other


def test_progress(eng: Engine, queries: Path) -> None:
    said: list[tuple[str, int, int]] = []
    eng.evaluate(queries, ["first_moment"], samples_curve=True, on_progress=lambda *what: said.append(what))
    assert ("encoding", 28, 28) in said
    assert ("image+text by first_moment", 4, 4) in said
    assert said[-1] == ("accuracy against samples", 5, 5)


# --- several right models


def test_any_right_model_counts(eng: Engine, lines: list[dict[str, Any]]) -> None:
    """Texts are always answered by their own colour, so that each right model can be the one that is found."""
    names = [hit.name for hit in eng.search(text="red", method="first_moment", k=4)]
    assert names[0] == "red"
    right = {("red", names[3]): 1.0, (names[3], "red"): 1.0, (names[1], names[2]): 0.0, (names[3], names[2]): 0.0}
    for models, top_1 in right.items():
        report = eng.evaluate([{"models": list(models), "text": "red"}], ["first_moment"], resamples=10)
        (row,) = rows(report).values()
        assert (row.measures["top_1"].value, row.measures["top_5"].value) == (top_1, 1)
        assert (row.models, row.owners, report.chance) == (2, 1, 0.5)
        tags = {tag for model in eng.models() if model.name in models for tag in model.tags}
        relevant = [bool(tags & set(eng.get(name).tags)) for name in names]
        precisions = [sum(relevant[: j + 1]) / (j + 1) for j in range(4) if relevant[j]]
        assert row.measures["map"].value == pytest.approx(sum(precisions) / sum(relevant))
        (confusions,) = report.confusions  # the right one that came nearest had its place taken
        nearest = min(models, key=names.index)
        assert confusions.pairs == (() if top_1 else ((nearest, "red", 1),))


def test_the_ten_best_alone_say_what_was_nearest(eng: Engine) -> None:
    names = [hit.name for hit in eng.search(text="red", method="first_moment", k=4)]
    asked = [{"models": [names[3], names[1]], "text": "red"}]
    (confusions,) = eng.evaluate(asked, ["first_moment"], full_ranking=False).confusions
    assert confusions.pairs == ((names[1], "red", 1),)


def test_a_query_is_in_the_kinds_and_tags_of_all_its_models(eng: Engine) -> None:
    judged = [{"models": ["red", "blue"], "text": "red"}, {"models": ["grey"], "text": "grey"}]
    judged += [{"model": "red", "text": "red"}]
    report = eng.evaluate(judged, ["first_moment"])
    assert report.untagged == 1
    kinds = {key[1]: row.queries for key, row in rows(report, "kind").items()}
    assert kinds == {"gan": 2, "vae": 2}
    tags = {key[1]: row.queries for key, row in rows(report, "tag").items()}
    assert tags == {"warm": 2, "bright": 2, "cold": 1}
    (row,) = rows(report).values()
    assert (row.queries, row.models, row.owners) == (3, 3, 3)  # red; red or blue; grey


def test_concepts_are_drawn_together(eng: Engine) -> None:
    judged = [{"model": name, "text": asked} for name in ("red", "green") for asked in ("red", "green")]
    estimates = []
    for concepts in ((None,) * 4, ("a", "b", "a", "b"), ("a", "a", "b", "b"), ("a",) * 4):
        asked = [{**line, "concept": concept} for line, concept in zip(judged, concepts, strict=True)]
        (row,) = rows(eng.evaluate(asked, ["first_moment"])).values()
        estimates.append((row.owners, row.measures["top_1"]))
    assert [owners for owners, _ in estimates] == [2, 2, 2, 1]
    assert all(found.value == 0.5 for _, found in estimates)
    assert estimates[0] == estimates[2]  # the models, by another name
    assert math.isnan(estimates[3][1].low)
    halves = [{"model": "red", "text": text, "concept": text} for text in ("red", "green")]
    (row,) = rows(eng.evaluate(halves, ["first_moment"])).values()
    assert (row.models, row.owners) == (1, 2)
    assert (row.measures["top_1"].low, row.measures["top_1"].high) == (0, 1)


def test_chance_of_several_right_models(eng: Engine) -> None:
    """Half of the models are right: being right half the time is no signal."""
    judged = [
        {"models": models, "text": text, "concept": text}
        for models in (["red", "green"], ["blue", "grey"]) for text in ("red", "green", "blue", "grey")
    ]  # fmt: skip
    report = eng.evaluate(judged, ["first_moment"])
    assert report.chance == 0.5
    assert {stratum.cut.kind: stratum.verdict for stratum in report.strata} == {"gan": "no signal", "vae": "no signal"}


def test_a_query_with_signal_in_one_of_its_kinds_is_kept(eng: Engine) -> None:
    """Blue and grey are never found; a query for which red is right, too, is of a stratum that tells something."""
    judged: list[dict[str, Any]] = [{"model": name, "text": name} for name in ("red", "green") for _ in range(9)]
    judged += [{"model": "red", "text": "green"}]
    judged += [{"model": name, "text": "red"} for name in ("blue", "grey") for _ in range(9)]
    judged += [{"models": ["red", "blue"], "text": "green", "concept": "red"}]
    report = eng.evaluate(judged, ["first_moment"])
    assert {stratum.cut.kind: stratum.verdict for stratum in report.strata} == {"gan": "signal", "vae": "no signal"}
    (row,) = rows(report).values()
    assert row.signal_queries == 20


def test_samples_curve_of_several_right_models(eng: Engine, lines: list[dict[str, Any]]) -> None:
    asked = [line for line in lines if "image" in line and "text" not in line]
    several = [
        {**line, "models": [line["model"], "grey"] if line["model"] != "grey" else ["blue", "grey"]} for line in asked
    ]
    for line in several:
        del line["model"]
    report = eng.evaluate(several, ["first_moment", "gaussian_density"], samples_curve=True)
    points = {(point.method, point.samples): point.top_1 for point in report.samples_curve}
    for method in ("first_moment", "gaussian_density"):
        assert points[method, None] == rows(report)["image", method].measures["top_1"]


# --- accuracy against samples


def test_samples_curve_is_that_of_scipy(eng: Engine, lines: list[dict[str, Any]]) -> None:
    pictures = [line for line in lines if "image" in line and "text" not in line]
    report = eng.evaluate(pictures, ["first_moment", "gaussian_density"], samples_curve=True)
    points = {(point.method, point.samples): point.top_1.value for point in report.samples_curve}
    models = eng.models()
    samples = eng.services.catalog.sample_features(1, [model.id for model in models])[0]
    encoder = eng.services.session.load_encoder("external:colours")
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)  # noqa: E731
    for size in (10, 30, None):
        chosen = {model.name: unit(samples[model.id].astype(np.float64)[:size]) for model in models}
        pooled = np.mean([np.cov(rows, rowvar=False) for rows in chosen.values()], axis=0)
        pooled = 0.95 * pooled + 0.05 * np.trace(pooled) / 6 * np.eye(6)
        found: dict[str, list[bool]] = defaultdict(list)
        for line in pictures:
            image = any_to_image(line["image"], max_pixels=1000)
            query = encoder.prepared_to_features(encoder.prepare(image)[None])[0].astype(np.float64)
            scores: dict[str, dict[str, float]] = {"first_moment": {}, "gaussian_density": {}}
            for name, rows_of in chosen.items():
                mean = rows_of.mean(axis=0)
                weight = eng.settings.shrinkage
                covariance = (1 - weight) * np.cov(rows_of, rowvar=False) + weight * pooled + 1e-4 * np.eye(6)
                scores["first_moment"][name] = float(mean @ query / np.linalg.norm(mean))
                scores["gaussian_density"][name] = scipy.stats.multivariate_normal.logpdf(query, mean, covariance)
            for method, of_models in scores.items():
                found[method].append(max(of_models, key=of_models.__getitem__) == line["model"])
        for method, hits in found.items():
            assert points[method, size] == pytest.approx(np.mean(hits))
    for method in ("first_moment", "gaussian_density"):  # thirty samples a model, and all are stored
        assert points[method, None] == rows(report)["image", method].measures["top_1"].value


def test_texts_have_no_density(eng: Engine) -> None:
    report = eng.evaluate([{"model": "red", "text": "red"}], samples_curve=True)
    assert {point.method for point in report.samples_curve} == {"first_moment"}


# --- what cannot be evaluated


def test_a_model_of_another_encoder(eng: Engine) -> None:
    eng.ingest(np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32), name="odd", encoder="external:other")
    with pytest.raises(MissingStatistics, match="query 1: 'odd' has no usable statistics"):
        eng.evaluate([{"model": "odd", "text": "red"}])
    with pytest.raises(EncoderNotFound):
        eng.evaluate([{"model": "odd", "text": "red"}], encoder="external:none")


def test_texts_need_an_encoder_that_reads(eng: Engine, encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    identity = replace(encoder.identity, modalities=frozenset({"image"}))
    monkeypatch.setattr(eng.services.session, "encoder", lambda *_: EncoderRef(1, identity))
    with pytest.raises(InvalidQuery, match=r"query 1: the encoder .* is image-only"):
        eng.evaluate([{"model": "red", "text": "red"}])
