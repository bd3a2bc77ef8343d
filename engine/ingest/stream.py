"""Samples to statistics, as a stream with bounded memory.

Worker threads load and preprocess a few batches ahead (in order) while the calling thread encodes; each batch's
features are merged into float64 moments and dropped. Batches are made of consecutive good samples, so that where
an interrupted run goes on, it forms the same batches and ends with bit-identical moments.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.config import Settings
from engine.encoders.protocol import Encoder, image_to_prepared
from engine.errors import InvalidImage, TooManyBadSamples
from engine.ingest.state import IngestState
from engine.records import Quarantined, Thumbnail
from engine.samples.arrays import FeatureSource
from engine.samples.labels import error_to_reason
from engine.samples.protocol import ImageSource, Sample
from engine.samples.room import one_picture
from engine.statistics import checked_features

OnProgress = Callable[[int, int, int], None]
"""Called with (samples done, samples in all, samples quarantined)."""
SaveState = Callable[[IngestState], None]

AHEAD = 3  # batches in flight: one being encoded, one ready, one being decoded


@dataclass
class _Loaded:
    index: int
    prepared: NDArray[np.float32] | None = None
    thumbnail: Thumbnail | None = None
    bad: Quarantined | None = None


@dataclass
class _Batch:
    position: int
    loaded: list[_Loaded] = field(default_factory=list)
    good: int = 0


def image_to_thumbnail(image: Image.Image, size: int) -> Thumbnail:
    """A preview whose longer side has at most ``size`` pixels, as lossy WebP; ``image`` is made as small.

    Raises:
        InvalidImage: none can be made of this picture, or not in the memory there is.
    """
    stream = io.BytesIO()
    try:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        image.save(stream, "WEBP", quality=85, method=2)
    except Exception as exc:
        raise InvalidImage(
            f"no preview can be made of {image.width} x {image.height} pixels: {error_to_reason(exc)}"
        ) from exc
    return Thumbnail(stream.getvalue(), "image/webp")


def spread(count: int, keep: int) -> NDArray[np.int64]:
    """Up to ``keep`` of the indices 0 … count − 1, evenly spread."""
    if count <= keep:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, keep).round().astype(np.int64)) if keep else np.empty(0, np.int64)


def images_to_state(
    source: ImageSource,
    encoder: Encoder,
    settings: Settings,
    state: IngestState,
    *,
    on_progress: OnProgress | None = None,
    save: SaveState | None = None,
) -> IngestState:
    """Encode a source from ``state.position`` on; ``state`` is updated in place and returned.

    Raises:
        TooManyBadSamples: more than ``settings.max_bad_share`` of the samples cannot be used.
    """
    total = source.count()
    allowed_bad = int(settings.max_bad_share * total)
    keep = set(spread(total, settings.kept_features).tolist())
    previews = set(spread(total, settings.kept_thumbnails).tolist())
    saved_at = state.position

    def load(sample: Sample) -> _Loaded:
        try:
            with one_picture():
                image = sample.load()
                prepared = image_to_prepared(encoder, image)
                preview = image_to_thumbnail(image, settings.thumbnail_size) if sample.index in previews else None
            return _Loaded(sample.index, prepared, preview)
        except InvalidImage as error:
            return _Loaded(sample.index, bad=Quarantined(sample.label, error.message))

    with ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode") as pool:
        for batch in _batches(source.samples(state.position), load, pool, settings.batch_size):
            good = [item for item in batch.loaded if item.prepared is not None]
            for item in batch.loaded:
                if item.bad is not None:
                    state.quarantine.append(item.bad)
                if item.thumbnail is not None:
                    state.thumbnails.append(item.thumbnail)
            if len(state.quarantine) > allowed_bad:
                raise _too_many(state.quarantine, total, settings.max_bad_share)
            if good:
                stacked = np.stack([item.prepared for item in good if item.prepared is not None])
                features = checked_features(encoder.prepared_to_features(stacked), dimension=encoder.identity.dimension)
                state.moments.update(features)
                state.kept.extend(features[i].astype(np.float16) for i, item in enumerate(good) if item.index in keep)
            state.position = batch.position
            if on_progress is not None:
                on_progress(state.position, total, len(state.quarantine))
            if save is not None and state.position - saved_at >= settings.checkpoint_samples:
                save(state)
                saved_at = state.position
    return state


def features_to_state(
    source: FeatureSource,
    settings: Settings,
    state: IngestState,
    *,
    dimension: int,
    on_progress: OnProgress | None = None,
) -> IngestState:
    """Accumulate ready-made features, normalising each row.

    Raises:
        InvalidFeatures: a row is zero or not finite, or the dimension is another.
    """
    total = source.count()
    keep = spread(total, settings.kept_features)
    for block in source.chunks(state.position):
        features = checked_features(block, dimension=dimension)
        state.moments.update(features)
        inside = keep[(keep >= state.position) & (keep < state.position + len(block))] - state.position
        state.kept.extend(features[inside].astype(np.float16))
        state.position += len(block)
        if on_progress is not None:
            on_progress(state.position, total, 0)
    return state


def _batches(
    samples: Iterator[Sample], load: Callable[[Sample], _Loaded], pool: ThreadPoolExecutor, size: int
) -> Iterator[_Batch]:
    """Loaded samples in order, in batches of ``size`` good ones (the last may be smaller)."""
    waiting: deque[Future[_Loaded]] = deque()
    waiting.extend(pool.submit(load, sample) for sample in islice(samples, AHEAD * size))
    batch = _Batch(0)
    try:
        while waiting:
            item = waiting.popleft().result()
            waiting.extend(pool.submit(load, sample) for sample in islice(samples, 1))
            batch.loaded.append(item)
            batch.good += item.prepared is not None
            batch.position = item.index + 1
            if batch.good == size:
                yield batch
                batch = _Batch(0)
        if batch.loaded:
            yield batch
    finally:
        for future in waiting:
            future.cancel()


def _too_many(bad: list[Quarantined], total: int, share: float) -> TooManyBadSamples:
    first = "; ".join(f"{item.label}: {item.reason}" for item in bad[:3])
    return TooManyBadSamples(
        f"{len(bad)} of {total} samples cannot be used, more than {share:.0%}: {first}",
        hint="nothing was written; remove the bad files, or raise max_bad_share (ENGINE_MAX_BAD_SHARE)",
    )
