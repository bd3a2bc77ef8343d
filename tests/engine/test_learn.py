"""``Engine.learn`` from files to searches: what is stored, when it is used, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import Engine
from engine.errors import (
    EncoderNotFound,
    InvalidInput,
    InvalidQuery,
    MissingStatistics,
    ModelNotFound,
    SourceNotFound,
    TransformNotFound,
)
from engine.records import EncoderIdentity, Transform
from tests.engine.judged_zoo import MODELS, NAMES, make_zoo, opened
from tests.engine.small_encoder import ProjectionEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of pictures and its judged queries."""
    return make_zoo(tmp_path_factory.mktemp("learn"))


@pytest.fixture
def eng(folder: Path) -> Iterator[Engine]:
    with opened(folder) as eng:
        yield eng
        for one in eng.transforms():
            eng.remove_transform(one.name)


@pytest.fixture
def learned(eng: Engine, folder: Path) -> Transform:
    return eng.learn(folder / "queries.jsonl", parameterisation="full", folds=3)


def test_what_helps_is_learned_stored_and_used(eng: Engine, folder: Path, learned: Transform) -> None:
    report = learned.report
    assert (learned.name, learned.active) == ("sketch-first_moment-full-1", True)
    assert (report["queries"], report["models"], report["collection"]) == (6 * MODELS, MODELS, MODELS)
    assert report["learned"]["top_1"] > report["pretrained"]["top_1"] > 0
    assert report["chance"]["top_1"] == pytest.approx(1 / MODELS)
    assert report["fingerprint"] == eng.encoders()[0].fingerprint
    assert (report["options"]["seed"], report["temperature"]) == (0, pytest.approx(1 / 20))
    assert json.loads(json.dumps(report))["better"] is True
    sketch = folder / "m03-0.png"
    assert eng.search(sketch=sketch).transform == learned.name
    assert eng.search(sketch=sketch, transform=None).transform is None
    assert eng.search(image=sketch, method="first_moment").transform is None
    assert eng.search(sketch=sketch, image=sketch).transform is None
    hits = eng.search(sketch=sketch, transform=learned.name, k=MODELS)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    found = [
        sum(eng.search(sketch=folder / f"{name}-{n}.png", k=1, transform=transform)[0].name == name
            for name in NAMES for n in range(6))
        for transform in ("auto", None)
    ]  # fmt: skip
    assert found[0] > found[1]


def test_the_same_seed_learns_the_same(eng: Engine, folder: Path, learned: Transform) -> None:
    again = eng.learn(folder / "queries.jsonl", parameterisation="full", folds=3)
    assert (again.version, again.checksum) == (2, learned.checksum)
    assert again.report["data"] == learned.report["data"]
    assert [one.active for one in eng.transforms()] == [False, True]


def test_what_does_not_help_is_kept_and_not_used(eng: Engine, folder: Path) -> None:
    """An image of each model that its statistics have seen: the features as they are make no mistake."""
    kept = eng.learn(folder / "queries.jsonl", modality="image", folds=2, parameterisation="diagonal")
    assert (kept.active, kept.report["better"], kept.report["pretrained"]["top_1"]) == (False, False, 1.0)
    picture = folder / "m00" / "00.png"
    assert eng.search(image=picture, method="first_moment").transform is None
    assert eng.search(image=picture, transform=kept.name).transform == kept.name
    forced = eng.learn(folder / "queries.jsonl", modality="image", folds=2, parameterisation="diagonal", force=True)
    assert (forced.active, forced.report["forced"]) == (True, True)
    assert eng.search(image=picture, method="first_moment").transform == forced.name


def test_a_density_can_be_learned(eng: Engine, folder: Path) -> None:
    made = eng.learn(folder / "queries.jsonl", method="gaussian_density", folds=2, force=True)
    hits = eng.search(sketch=folder / "m01-0.png", method="gaussian_density")
    assert (hits.transform, hits.shortlist) == (made.name, MODELS)
    assert made.report["temperature"] > 0


def test_one_for_all_modalities(eng: Engine, folder: Path) -> None:
    made = eng.learn(folder / "queries.jsonl", modality="any", folds=2, force=True)
    assert made.report["queries"] == 7 * MODELS
    sketch = folder / "m01-0.png"
    assert eng.search(sketch=sketch, image=sketch).transform == made.name


def test_queries_with_several_right_models_are_left_out(eng: Engine, folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = [{**line, "sketch": str(folder / line["sketch"])} for line in lines if "sketch" in line]
    several = [{"models": list(NAMES[:2]), "sketch": line["sketch"]} for line in judged]
    made = eng.learn([*judged, *several], parameterisation="diagonal", folds=2)
    assert made.report["queries"] == len(judged)
    with pytest.raises(InvalidQuery, match="with one right model"):
        eng.learn(several)


def test_choosing(eng: Engine, folder: Path, learned: Transform) -> None:
    sketch = folder / "m03-0.png"
    eng.search(sketch=sketch)
    index = eng.services.views.folder(eng.encoders()[0], learned.name)
    eng.services.views.publish_stale()
    assert index.is_dir()
    assert not eng.deactivate_transform(learned.name).active
    assert eng.search(sketch=sketch).transform is None
    assert eng.activate_transform(learned.name).active
    vector = ProjectionEncoder().projection[:, 0][:24]
    with_it = eng.search_vectors(vector, MODELS, modality="sketch", transform="auto")[0]
    eng.remove_transform(learned.name)
    assert not index.exists()
    assert eng.search(sketch=sketch).transform is None
    assert not np.allclose(with_it, eng.search_vectors(vector, MODELS, modality="sketch", transform="auto")[0])
    for ask in (eng.activate_transform, eng.deactivate_transform, eng.remove_transform):
        with pytest.raises(TransformNotFound):
            ask(learned.name)


def test_a_whitening_is_not_chosen(eng: Engine) -> None:
    eng.search(model="m01", method="whitened_first_moment")
    (whitening,) = eng.transforms()
    for ask in (eng.activate_transform, eng.deactivate_transform):
        with pytest.raises(InvalidInput, match="whitened_first_moment"):
            ask(whitening.name)
    eng.remove_transform(whitening.name)
    assert eng.search(model="m01", method="whitened_first_moment").transform == whitening.name  # fitted again


def test_what_is_refused(eng: Engine, folder: Path) -> None:
    queries = folder / "queries.jsonl"
    good = [{"model": name, "sketch": folder / f"{name}-0.png"} for name in NAMES]
    for error, source, options in (
        (InvalidInput, queries, {"modality": "model"}), (InvalidInput, queries, {"method": "monte_carlo"}),
        (InvalidInput, queries, {"parameterisation": "round"}), (InvalidInput, queries, {"folds": MODELS}),
        (InvalidInput, queries, {"folds": 1}), (InvalidInput, queries, {"seed": -1}),
        (InvalidInput, queries, {"temperature": 0.0}),
        (InvalidInput, queries, {"modality": "text", "method": "gaussian_density"}),
        (InvalidQuery, queries, {"modality": "text"}), (EncoderNotFound, queries, {"encoder": "external:nope"}),
        (SourceNotFound, folder / "nope.jsonl", {}), (ModelNotFound, [*good, {**good[0], "model": "nope"}], {}),
        (InvalidInput, good[:2], {}),
    ):  # fmt: skip
        with pytest.raises(error):
            eng.learn(source, **options)
    assert eng.transforms() == []


def test_a_judged_model_without_statistics_is_named(eng: Engine, folder: Path) -> None:
    other = EncoderIdentity("external:other", "e" * 64, 24, 20.0, frozenset({"image"}))
    encoder_id = eng.services.catalog.register_encoder(other)
    stored = eng.services.catalog.statistics(1, [eng.get("m00").id])[0]
    assert stored
    assert encoder_id != 1
    with pytest.raises(MissingStatistics, match="m00"):
        eng.learn([{"model": "m00", "sketch": folder / "m00-0.png"}], encoder="external:other")
