"""Pictures to statistics: batches, quarantine, previews, checkpoints. Killing is tested in tests/engine."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from engine import Engine
from engine.config import Settings
from engine.encoders.protocol import Encoder, images_to_features
from engine.errors import (
    CorruptData,
    EncoderMismatch,
    InvalidFeatures,
    InvalidImage,
    InvalidQuery,
    MissingWeights,
    NotEnoughSamples,
    TooManyBadSamples,
)
from engine.ingest import ingest_source
from engine.ingest.state import IngestState, bytes_to_state, state_to_bytes
from engine.ingest.stream import images_to_state, spread
from engine.records import EncoderIdentity, Quarantined, Thumbnail
from engine.samples import FeatureSource, ImageSource, MomentsSource, Sample
from engine.statistics import Moments
from engine.storage import Catalog

D = 6


class PixelEncoder:
    """A real encoder without weights: a fixed random projection of a 4 × 4 picture."""

    def __init__(self) -> None:
        self._matrix = np.random.default_rng(0).normal(size=(48, D)).astype(np.float32)
        self.identity = EncoderIdentity("test:pixels", "a" * 64, D, 20.0, frozenset({"image"}))
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image.resize((4, 4)), np.float32).transpose(2, 0, 1) / 255

    def prepared_to_features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        features = batch.reshape(len(batch), -1) @ self._matrix + np.float32(0.1)
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)

    def texts_to_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise InvalidQuery("pixels have no words")


class Noise:
    """Pictures of noise, picture i the same every time; those in ``bad`` cannot be loaded."""

    kind = "noise"

    def __init__(self, count: int, bad: Sequence[int] = ()) -> None:
        self._count, self._bad = count, frozenset(bad)
        self.loaded: list[int] = []

    def describe(self) -> dict[str, Any]:
        return {"type": "noise", "count": self._count}

    def digest(self) -> str:
        return f"noise {self._count} {sorted(self._bad)}"

    def count(self) -> int:
        return self._count

    def samples(self, start: int = 0) -> Iterator[Sample]:
        for i in range(start, self._count):
            yield Sample(i, f"#{i}", partial(self.picture, i))

    def picture(self, i: int) -> Image.Image:
        self.loaded.append(i)
        if i in self._bad:
            raise InvalidImage(f"picture {i} is torn")
        return Image.fromarray(np.random.default_rng(i).integers(0, 256, (6, 9, 3), np.uint8))

    def close(self) -> None:
        """Nothing is open."""


SMALL = Settings(batch_size=8, decode_workers=2, checkpoint_samples=16, kept_features=20, kept_thumbnails=3)


def fresh() -> IngestState:
    return IngestState(Moments(D))


def test_the_fakes_are_what_they_stand_for() -> None:
    assert isinstance(PixelEncoder(), Encoder)
    assert isinstance(Noise(1), ImageSource)


# --- the stream


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 65])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_moments_are_those_of_all_good_pictures(count: int, workers: int) -> None:
    bad = [i for i in range(count) if i % 7 == 3]
    source, encoder = Noise(count, bad), PixelEncoder()
    state = images_to_state(
        source, encoder, replace(SMALL, max_bad_share=0.5, decode_workers=workers), fresh()
    )  # fmt: skip
    features = images_to_features(encoder, [source.picture(i) for i in range(count) if i not in bad])
    wide = features.astype(np.float64)
    assert (state.moments.count, state.position) == (count - len(bad), count)
    np.testing.assert_allclose(state.moments.mean, wide.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(state.moments.scatter, (wide - wide.mean(0)).T @ (wide - wide.mean(0)), atol=1e-6)
    assert [(q.label, q.reason) for q in state.quarantine] == [(f"#{i}", f"picture {i} is torn") for i in bad]


class Choosy(PixelEncoder):
    """Fails at preparing the pictures of one seed."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        if image.getpixel((0, 0)) == Noise(4).picture(3).getpixel((0, 0)):
            raise self._failure
        return super().prepare(image)


@pytest.mark.parametrize("failure", [InvalidImage("too thin"), MemoryError(), ValueError("Box\n"), OSError(5, "I/O")])
def test_what_preparing_raises_is_quarantined(failure: Exception) -> None:
    state = images_to_state(Noise(9), Choosy(failure), replace(SMALL, max_bad_share=0.5), fresh())
    assert state.moments.count == 8
    assert [bad.label for bad in state.quarantine] == ["#3"]
    assert state.quarantine[0].reason.isprintable()
    with pytest.raises(InvalidImage):
        images_to_features(Choosy(failure), [Noise(4).picture(3)])


def test_an_encoder_without_weights_fails_as_a_whole() -> None:
    with pytest.raises(MissingWeights):
        images_to_state(Noise(9), Choosy(MissingWeights("none")), replace(SMALL, max_bad_share=0.5), fresh())


@pytest.mark.parametrize("failure", [MemoryError(), OSError("encoder error -2")])
def test_what_a_preview_raises_is_quarantined(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Image.Image.thumbnail

    def thumbnail(image: Image.Image, *args: Any) -> None:
        if image.getpixel((0, 0)) == Noise(1).picture(0).getpixel((0, 0)):
            raise failure
        whole(image, *args)

    monkeypatch.setattr(Image.Image, "thumbnail", thumbnail)
    state = images_to_state(Noise(9), PixelEncoder(), replace(SMALL, max_bad_share=0.5), fresh())
    assert [bad.label for bad in state.quarantine] == ["#0"]
    assert state.moments.count == 8
    assert len(state.thumbnails) == 2


def test_batches_hold_consecutive_good_pictures() -> None:
    encoder = PixelEncoder()
    images_to_state(Noise(30, [0, 9, 10]), encoder, replace(SMALL, max_bad_share=0.5), fresh())
    assert encoder.batches == [8, 8, 8, 3]


def test_what_is_kept_is_spread_over_the_source() -> None:
    source, encoder = Noise(100), PixelEncoder()
    state = images_to_state(source, encoder, SMALL, fresh())
    kept = state.kept_features()
    assert (kept.shape, kept.dtype, len(state.thumbnails)) == ((20, D), np.float16, 3)
    places = spread(100, 20)
    assert (places[0], places[-1]) == (0, 99)
    expected = images_to_features(encoder, [source.picture(int(i)) for i in places])
    np.testing.assert_allclose(kept, expected, atol=1e-3)
    for thumbnail in state.thumbnails:
        assert thumbnail.media_type == "image/webp"
        assert Image.open(io.BytesIO(thumbnail.data)).size == (9, 6)
    nothing = images_to_state(source, encoder, replace(SMALL, kept_features=0, kept_thumbnails=0), fresh())
    assert (nothing.kept_features(), nothing.thumbnails) == (None, [])


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(0, 500), st.integers(0, 60))
def test_spread(count: int, keep: int) -> None:
    places = spread(count, keep)
    assert len(places) == min(count, keep)
    assert len(set(places.tolist())) == len(places)
    assert all(0 <= place < count for place in places)
    if keep >= 2 and count >= 2:
        assert (places[0], places[-1]) == (0, count - 1)


def test_progress_counts_up_to_the_end() -> None:
    seen: list[tuple[int, int, int]] = []
    images_to_state(Noise(20, [2]), PixelEncoder(), replace(SMALL, max_bad_share=0.1), fresh(),
                    on_progress=lambda *numbers: seen.append(numbers))  # fmt: skip
    assert seen[-1] == (20, 20, 1)
    assert seen == sorted(seen)


def test_pictures_are_loaded_only_a_little_ahead() -> None:
    source = Noise(400)
    ahead: list[int] = []
    images_to_state(source, PixelEncoder(), SMALL, fresh(),
                    on_progress=lambda done, *_: ahead.append(len(source.loaded) - done))  # fmt: skip
    assert max(ahead) <= 4 * SMALL.batch_size


def test_no_thread_outlives_a_failure() -> None:
    before = threading.active_count()
    with pytest.raises(TooManyBadSamples):
        images_to_state(Noise(200, range(100)), PixelEncoder(), SMALL, fresh())

    class Broken(PixelEncoder):
        def prepared_to_features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.full((len(batch), D), np.nan, np.float32)

    with pytest.raises(InvalidFeatures):
        images_to_state(Noise(200), Broken(), SMALL, fresh())
    assert threading.active_count() == before


def test_a_sources_own_failure_comes_through() -> None:
    class Failing(Noise):
        def picture(self, i: int) -> Image.Image:
            if i == 50:
                raise OSError("the disk has gone")
            return super().picture(i)

    with pytest.raises(OSError, match="gone"):
        images_to_state(Failing(100), PixelEncoder(), SMALL, fresh())


# --- going on


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 70), st.sets(st.integers(0, 69), max_size=6), st.data())
def test_going_on_from_any_checkpoint_gives_the_same_bytes(count: int, bad: set[int], data) -> None:
    source = Noise(count, sorted(i for i in bad if i < count))
    lenient = replace(SMALL, max_bad_share=0.99)
    saved: list[bytes] = []
    whole = images_to_state(
        source, PixelEncoder(), lenient, fresh(), save=lambda state: saved.append(state_to_bytes(state))
    )
    assert len(saved) >= (count - len(bad)) // 24 - 1
    if saved:
        state = bytes_to_state(data.draw(st.sampled_from(saved)))
        assert 0 < state.position <= count
        source.loaded.clear()
        start = state.position
        again = images_to_state(source, PixelEncoder(), lenient, state)
        assert state_to_bytes(again) == state_to_bytes(whole)
        assert min(source.loaded, default=count) >= start  # what was done is not done again


def test_a_checkpoint_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    state = IngestState(
        Moments.of(rng.normal(size=(9, D)).astype(np.float32)), 17,
        list(rng.normal(size=(2, D)).astype(np.float16)), [Thumbnail(b"\x00\xff", "image/webp")],
        [Quarantined("a\nb.png", "torn ☂")],
    )  # fmt: skip
    back = bytes_to_state(state_to_bytes(state))
    assert (back.position, back.thumbnails, back.quarantine) == (17, state.thumbnails, state.quarantine)
    np.testing.assert_array_equal(back.moments.scatter, state.moments.scatter)
    np.testing.assert_array_equal(back.moments.mean, state.moments.mean)
    assert back.moments.count == 9
    np.testing.assert_array_equal(np.stack(back.kept), np.stack(state.kept))


@pytest.mark.parametrize("data", [b"", b"garbage", state_to_bytes(IngestState(Moments(D)))[:-30]])
def test_a_checkpoint_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(CorruptData, match="checkpoint"):
        bytes_to_state(data)


# --- one model, into the database


@pytest.fixture
def ingest(catalog: Catalog):
    """``ingest(source, name="noise", settings=SMALL)``."""

    def run(source: Any, name: str = "noise", settings: Settings = SMALL, encoder: Any = None, **more: Any):
        encoder = encoder or PixelEncoder()
        return ingest_source(
            catalog, settings, source, name=name, details={}, encoder=encoder, identity=encoder.identity, **more
        )

    return run


def test_a_broken_run_goes_on(ingest, catalog: Catalog) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, _total: int, _bad: int) -> None:
        if done >= 48:
            raise Stopped

    whole = ingest(Noise(100, [5]), "whole").model
    with pytest.raises(Stopped):
        ingest(Noise(100, [5]), "broken", on_progress=stop)
    assert [model.name for model in catalog.models()] == ["whole"]
    source, seen = Noise(100, [5]), []
    broken = ingest(source, "broken", on_progress=lambda done, *_: seen.append(done)).model
    assert min(source.loaded) >= 16
    assert seen[0] > 16
    first, second = (catalog.statistics(1, [m.id])[0][m.id].statistics for m in (whole, broken))
    assert first.mean.tobytes() == second.mean.tobytes()
    assert first.covariance.tobytes() == second.covariance.tobytes()
    assert (first.samples, broken.quarantined) == (second.samples, 1)
    assert [t.data for t in catalog.thumbnails(whole.id)] == [t.data for t in catalog.thumbnails(broken.id)]


def test_a_broken_checkpoint_is_dropped(ingest, catalog: Catalog) -> None:
    encoder = PixelEncoder()
    encoder_id = catalog.register_encoder(encoder.identity)
    from engine.ingest.runner import content_digest

    digest = content_digest(Noise(20), encoder.identity, SMALL)
    catalog.save_checkpoint("noise", encoder_id, digest, 16, b"garbage")
    assert ingest(Noise(20)).model.samples == 20


def test_too_many_bad_pictures_write_nothing(ingest, catalog: Catalog) -> None:
    first = ingest(Noise(40)).model
    change = catalog.last_change()
    with pytest.raises(TooManyBadSamples, match=r"3 of 40 .*5%.*#3: picture 3 is torn") as caught:
        ingest(Noise(40, [3, 20, 39]))
    assert "nothing was written" in str(caught.value.hint)
    assert catalog.model("noise") == first
    assert catalog.last_change() == change
    with pytest.raises(TooManyBadSamples):
        ingest(Noise(40, range(40)), "other")
    assert catalog.count() == 1
    assert ingest(Noise(40, [3, 20])).model.quarantined == 2  # exactly the share that is allowed


def test_quarantine_is_recorded_and_follows_the_content(ingest, catalog: Catalog) -> None:
    model = ingest(Noise(100, [5, 50])).model
    assert (model.samples, model.quarantined) == (98, 2)
    assert catalog.quarantine(model.id) == [Quarantined(f"#{i}", f"picture {i} is torn") for i in (5, 50)]
    mended = ingest(Noise(100)).model
    assert (mended.id, mended.quarantined, catalog.quarantine(model.id)) == (model.id, 0, [])


@pytest.mark.parametrize(("count", "bad"), [(1, []), (2, [0])])
def test_too_few_pictures(ingest, catalog: Catalog, count: int, bad: list[int]) -> None:
    with pytest.raises(NotEnoughSamples, match="2 good samples, got 1"):
        ingest(Noise(count, bad), settings=replace(SMALL, max_bad_share=0.5))
    assert catalog.count() == 0


def test_unchanged_content_is_not_read_again(ingest, catalog: Catalog) -> None:
    assert ingest(Noise(20)).changed
    source = Noise(20)
    assert not ingest(source).changed
    assert source.loaded == []
    assert ingest(source, settings=replace(SMALL, kept_features=7)).changed
    assert ingest(source, settings=replace(SMALL, kept_features=7, batch_size=3)).changed is False


def test_another_encoder_of_the_same_name_is_refused(ingest, catalog: Catalog) -> None:
    ingest(Noise(20))
    other = PixelEncoder()
    other.identity = replace(other.identity, fingerprint="b" * 64)
    with pytest.raises(EncoderMismatch):
        ingest(Noise(30), encoder=other)
    assert catalog.model("noise").samples == 20


def test_features_and_pictures_of_one_encoder_meet(ingest, catalog: Catalog) -> None:
    encoder = PixelEncoder()
    features = images_to_features(encoder, [Noise(50).picture(i) for i in range(50)])
    pictures, ready = ingest(Noise(50), "pictures").model, ingest(FeatureSource(features), "ready").model
    stored = catalog.statistics(1, [pictures.id, ready.id])[0]
    np.testing.assert_allclose(stored[pictures.id].statistics.mean, stored[ready.id].statistics.mean, atol=1e-6)
    with pytest.raises(InvalidFeatures, match="7 dimensions"):
        ingest(FeatureSource(np.ones((3, 7), np.float32)), "wrong")
    with pytest.raises(EncoderMismatch, match="7 dimensions"):
        ingest(MomentsSource(np.ones(7), np.eye(7)), "wrong")


# --- through the Engine


def test_folders_are_searched_by_picture(url: str, settings: Settings, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
    for name, colour in colours.items():
        (tmp_path / name).mkdir()
        for i in range(25):
            noisy = np.clip(np.array(colour) + rng.integers(-25, 25, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / name / f"{i}.png")
    (tmp_path / "red" / "torn.png").write_bytes(b"not a picture")
    encoder = PixelEncoder()
    with Engine.open(url, create=True, encoder="external:none", settings=replace(settings, batch_size=8)) as eng:
        eng.services.session.use_encoder("test:pixels", encoder)
        for name in colours:
            eng.ingest(tmp_path / name, name=name, encoder="test:pixels")
        assert (eng.get("red").samples, eng.get("red").quarantined) == (25, 1)
        assert len(eng.thumbnails("red")) == 8  # the last of nine places is the torn one
        for name, colour in colours.items():
            picture = Image.new("RGB", (20, 10), colour)
            for query in (picture, np.asarray(picture)):
                for method in ("auto", "first_moment", "best_1", "monte_carlo"):
                    hits = eng.search(image=query, encoder="test:pixels", method=method)
                    assert hits[0].name == name
                    assert len(hits) == 3
            assert eng.search(sketch=picture, encoder="test:pixels").method == "blend"
            assert eng.search(image=picture, encoder="test:pixels").method == "blend"
            mixed = eng.search(image=picture, sketch=picture, encoder="test:pixels", weights={"image": 2})
            assert (mixed[0].name, set(mixed[0].parts)) == (name, {"image", "sketch"})
            assert sum(mixed[0].parts.values()) == pytest.approx(mixed[0].score)
        assert (
            eng.search(image=Image.new("RGB", (9, 9), "red"), model="red", encoder="test:pixels", k=9)[0].name != "red"
        )
        with pytest.raises(InvalidQuery, match="image-only") as caught:
            eng.search(text="red", encoder="test:pixels")
        assert "image" in str(caught.value.hint)
        for bad in (b"torn", tmp_path / "red" / "torn.png", tmp_path / "missing.png", np.zeros((3, 3, 7)), 5):
            with pytest.raises((InvalidImage, InvalidQuery)):
                eng.search(image=bad, encoder="test:pixels")
        encoder.identity = replace(encoder.identity, fingerprint="b" * 64)
        with pytest.raises(EncoderMismatch) as caught_other:
            eng.search(image=Image.new("RGB", (9, 9)), encoder="test:pixels")
        assert caught_other.value.hint


def test_a_manifest_of_folders(url: str, settings: Settings, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Noise(9).picture(i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "empty").mkdir()
    lines = [{"name": n, "source": n, "encoder": "test:pixels", "tags": ["t"]} for n in ("a", "empty", "b")]
    (tmp_path / "zoo.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with Engine.open(url, create=True, encoder="external:none", settings=settings) as eng:
        eng.services.session.use_encoder("test:pixels", PixelEncoder())
        report = eng.ingest_manifest(tmp_path / "zoo.jsonl")
        assert [outcome.status for outcome in report.outcomes] == ["added", "failed", "added"]
        assert isinstance(report.failed[0].error, NotEnoughSamples)
        assert [model.tags for model in eng.models()] == [("t",), ("t",)]
