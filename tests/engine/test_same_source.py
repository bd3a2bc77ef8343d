"""A model is replaced by its own source, and by another only where that is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import Engine
from engine.config import Settings
from engine.errors import DuplicateName
from engine.records import Ingested
from engine.samples import MomentsSource
from engine.statistics import Moments
from tests.conftest import unit_rows
from tests.engine.small_encoder import ProjectionEncoder

pytestmark = pytest.mark.backends("sqlite")
ELSEWHERE = "external:elsewhere"
SAID = {"description": "Birds.", "tags": ["animal"]}


def features(seed: int) -> Any:
    return unit_rows(np.random.default_rng(seed), 12, 24)


def moments(seed: int) -> MomentsSource:
    rows = features(seed).astype(np.float64)
    return MomentsSource(rows.mean(axis=0), np.cov(rows, rowvar=False), 12)


def write(path: Path, seed: int) -> Path:
    """A source of some kind at a path, by its suffix, with content of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, features(seed))
    elif path.suffix == ".npz":
        found = moments(seed)
        np.savez(path, mu=found.mean, sigma=found.covariance, n=12)
    else:
        path.mkdir(exist_ok=True)
        for number in range(4):
            colour = tuple(np.random.default_rng([seed, number]).integers(256, size=3).tolist())
            Image.new("RGB", (8, 8), colour).save(path / f"{number}.png")
    return path


@pytest.fixture
def eng(url: str) -> Iterator[Engine]:
    encoder = ProjectionEncoder()
    with Engine.open(url, create=True, encoder=encoder.identity.name, settings=Settings(checkpoint_samples=2)) as eng:
        eng.services.session.use_encoder(encoder.identity.name, encoder)
        eng.services.catalog.register_encoder(encoder.identity)
        yield eng


KINDS: dict[str, Callable[[Path], Any]] = {
    "folder": lambda place: write(place / "birds", 2),
    "features": lambda place: write(place / "birds.npy", 2),
    "moments": lambda place: write(place / "birds.npz", 2),
    "array": lambda place: features(2),
    "callable": lambda place: lambda count, seed: [Image.new("RGB", (8, 8), (seed % 256, i, 9)) for i in range(count)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_source_is_refused(eng: Engine, tmp_path: Path, kind: str) -> None:
    old = eng.ingest(write(tmp_path / "old" / "birds", 1), **SAID)
    new = KINDS[kind](tmp_path / "new")
    with pytest.raises(DuplicateName, match="another source") as caught:
        eng.ingest(new, name="birds")
    assert str(tmp_path / "old" / "birds") in caught.value.message
    assert "--replace" in (caught.value.hint or "")
    assert "--name" in (caught.value.hint or "")
    if isinstance(new, Path):
        with pytest.raises(DuplicateName):
            eng.ingest(new)
    assert eng.ingest_outcome(new, name="birds").status == "failed"
    assert eng.get("birds") == old


@pytest.mark.parametrize("kind", KINDS)
def test_replaced_with_all_that_was_said(eng: Engine, tmp_path: Path, kind: str) -> None:
    old = eng.ingest(write(tmp_path / "old" / "birds", 1), author="Ada", **SAID)
    eng.ingest(features(3), name="other")
    new = KINDS[kind](tmp_path / "new")
    model = eng.ingest(new, name="birds", tags=["new"], replace=True)
    assert (model.tags, model.description, model.author) == (("new",), None, None)
    assert model.id != old.id
    assert [each.name for each in eng.models()] == ["birds", "other"]
    assert [hit.model.id for hit in eng.similar("other")] == [model.id]
    again = eng.ingest(new, name="birds", description="Now.")
    assert (again.id, again.tags, again.description) == (model.id, ("new",), "Now.")


@pytest.mark.parametrize("suffix", ["", ".npy", ".npz"])
def test_its_own_source_replaces_as_ever(eng: Engine, tmp_path: Path, suffix: str) -> None:
    old = eng.ingest(write(tmp_path / f"birds{suffix}", 1), **SAID)
    outcome = eng.ingest_outcome(write(tmp_path / f"birds{suffix}", 2), tags=["new"])
    assert outcome.status == "replaced"
    assert outcome.model is not None
    assert (outcome.model.id, outcome.model.description, outcome.model.tags) == (old.id, "Birds.", ("new",))


@pytest.mark.parametrize("suffix", ["", ".npy", ".npz"])
def test_a_moved_file_is_the_same_source(eng: Engine, tmp_path: Path, suffix: str) -> None:
    old = eng.ingest(write(tmp_path / "a" / f"birds{suffix}", 1), **SAID)
    (tmp_path / "b").mkdir()
    moved = shutil.move(tmp_path / "a" / f"birds{suffix}", tmp_path / "b" / f"birds{suffix}")
    outcome = eng.ingest_outcome(moved)
    assert (outcome.status, outcome.error) == ("unchanged", None)
    assert eng.get("birds").source["path"] == str(moved)
    assert eng.get("birds").id == old.id
    assert eng.ingest_outcome(write(moved, 2)).status == "replaced"


def test_a_moved_source_under_another_encoder(eng: Engine, tmp_path: Path) -> None:
    """What is encoded is other for each encoder, so only the content's own digest tells that it is the same."""
    old = eng.ingest(write(tmp_path / "a" / "birds.npy", 1))
    moved = shutil.copy(tmp_path / "a" / "birds.npy", tmp_path / "birds.npy")
    assert eng.ingest(moved, encoder=ELSEWHERE).id == old.id


def test_arrays_in_memory_are_one_source(eng: Engine) -> None:
    old = eng.ingest(features(1), name="birds", **SAID)
    new = eng.ingest(moments(2), name="birds")
    assert (new.id, new.description) == (old.id, "Birds.")
    eng.ingest_statistics(["birds"], features(3)[:1], encoder=ELSEWHERE, samples=4)


def test_features_of_another_encoder_are_added(eng: Engine, tmp_path: Path) -> None:
    pictures = write(tmp_path / "birds", 1)
    old = eng.ingest(pictures, **SAID)
    rows = write(tmp_path / "birds.npy", 1)
    with pytest.raises(DuplicateName):
        eng.ingest(rows, encoder=ELSEWHERE)  # nobody said that these are the same birds
    both = eng.ingest(rows, name="birds", encoder=ELSEWHERE)
    assert both.encoders == (ELSEWHERE, "external:projection")
    assert (both.id, both.description, both.source["path"]) == (old.id, "Birds.", str(pictures))
    assert both.source["statistics"][ELSEWHERE]["path"] == str(rows)
    assert eng.ingest_outcome(write(rows, 5), name="birds", encoder=ELSEWHERE).status == "replaced"
    assert eng.ingest_outcome(write(pictures, 6)).status == "replaced"
    assert eng.get("birds").source["statistics"][ELSEWHERE]["path"] == str(rows)
    with pytest.raises(DuplicateName, match=r"birds\.npy"):
        eng.ingest(write(tmp_path / "x" / "birds.npy", 7), name="birds", encoder=ELSEWHERE)


def test_manifests_say_it_for_an_entry_or_for_all(eng: Engine, tmp_path: Path) -> None:
    names = ("ant", "bee", "cat")
    for seed, name in enumerate(names):
        eng.ingest(write(tmp_path / f"{name}.npy", seed), **SAID)
        write(tmp_path / "new" / f"{name}.npy", seed + 10)
    entries = [{"name": name, "source": f"new/{name}.npy"} for name in names]
    entries[1]["replace"] = True  # type: ignore[assignment]
    manifest = tmp_path / "zoo.jsonl"
    manifest.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    statuses = [outcome.status for outcome in eng.ingest_manifest(manifest).outcomes]
    assert statuses == ["failed", "replaced", "failed"]
    assert (eng.get("ant").tags, eng.get("bee").tags) == (("animal",), ())
    statuses = [outcome.status for outcome in eng.ingest_manifest(manifest, replace=True).outcomes]
    assert statuses == ["replaced", "unchanged", "replaced"]


def test_ready_moments_in_bulk(eng: Engine, tmp_path: Path) -> None:
    old = eng.ingest(write(tmp_path / "birds.npy", 1), encoder=ELSEWHERE, **SAID)
    eng.ingest_statistics(["cats"], features(2)[:1], encoder=ELSEWHERE, samples=4, tags=["pet"])
    both = {"names": ["birds", "cats"], "means": features(5)[:2], "encoder": ELSEWHERE, "samples": 4}
    with pytest.raises(DuplicateName, match=r"birds\.npy"):
        eng.ingest_statistics(**both)
    assert eng.get("birds") == old
    counts = eng.ingest_statistics(**both, replace=True)
    assert (counts.added, counts.replaced, counts.unchanged) == (0, 2, 0)
    assert (eng.get("birds").tags, eng.get("cats").tags) == ((), ("pet",))
    assert eng.get("birds").id != old.id
    assert eng.ingest_statistics(**both).unchanged == 2


def test_imported_moments(eng: Engine, tmp_path: Path) -> None:
    eng.import_moments(write(tmp_path / "birds.npz", 1), encoder=ELSEWHERE)
    other = write(tmp_path / "x" / "birds.npz", 2)
    with pytest.raises(DuplicateName):
        eng.import_moments(other, encoder=ELSEWHERE)
    eng.import_moments(other, encoder=ELSEWHERE, replace=True)
    assert eng.get("birds").source["path"] == str(other)


def test_what_was_replaced_in_part_is_gone_on_with(eng: Engine, tmp_path: Path) -> None:
    old = eng.ingest(write(tmp_path / "old" / "birds", 1), **SAID)
    new = write(tmp_path / "new" / "birds", 2)
    eng.settings = Settings(batch_size=2, checkpoint_samples=2)

    def interrupt(done: int, total: int, quarantined: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eng.ingest(new, replace=True, on_progress=interrupt)
    assert eng.get("birds") == old, "until the end the old one is there"
    told: list[int] = []
    eng.ingest(new, replace=True, on_progress=lambda done, total, bad: told.append(done))
    assert told == [4], "the first two were not encoded again"


def test_two_that_are_ingested_at_once(eng: Engine, tmp_path: Path) -> None:
    """The second meets the first when it is written: looking before encoding is not enough."""
    eng.ingest(write(tmp_path / "birds.npy", 1), encoder=ELSEWHERE)
    encoder_id, _ = eng.services.session.encoder(ELSEWHERE)
    statistics = Moments.of(features(2)).to_statistics(1e-4)
    late = Ingested("birds", {}, statistics, {"type": "features", "path": "/other.npy"}, "x")
    with pytest.raises(DuplicateName):
        eng.services.catalog.put(late, encoder_id)


def test_an_upload_has_a_name_for_a_place(eng: Engine, tmp_path: Path) -> None:
    """Where it lies is new each time."""
    first, second, third = (write(tmp_path / f"{number}.npy", number) for number in range(3))
    model = eng.ingest(first, name="birds", upload="birds.npy", **SAID)
    assert model.source["upload"] == "birds.npy"
    assert "path" not in model.source
    assert eng.ingest(second, name="birds", upload="birds.npy").description == "Birds."
    with pytest.raises(DuplicateName, match=r"the upload birds\.npy"):
        eng.ingest(third, name="birds", upload="other.npy")
