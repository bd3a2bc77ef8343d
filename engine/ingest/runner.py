"""One model from its source to the database: open → unchanged? → stream → commit, all or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config import Settings
from engine.encoders.protocol import Encoder
from engine.errors import CorruptData, EncoderMismatch, InvalidQuery, NotEnoughSamples, TooManyBadSamples
from engine.ingest.state import IngestState, bytes_to_state, state_to_bytes
from engine.ingest.stream import OnProgress, features_to_state, images_to_state
from engine.records import EncoderIdentity, Ingested, Model, Origin, Quarantined, Statistics
from engine.samples import FeatureSource, ImageSource, MomentsSource
from engine.samples.labels import name_to_label
from engine.statistics import Moments, checked_statistics
from engine.storage import Catalog
from engine.storage.details import checked_json

Source = ImageSource | FeatureSource | MomentsSource


@dataclass(frozen=True)
class IngestResult:
    """The model as stored, and whether its statistics were written (False: its content had not changed)."""

    model: Model
    changed: bool


def ingest_source(
    catalog: Catalog,
    settings: Settings,
    source: Source,
    *,
    name: str,
    details: Mapping[str, Any],
    encoder: Encoder | None,
    identity: EncoderIdentity,
    on_progress: OnProgress | None = None,
    upload: str | None = None,
    replace: bool = False,
    add: bool = False,
) -> IngestResult:
    """Ingest one opened source under an encoder. ``encoder`` may be None for features and moments.

    Args:
        upload: the file's name where somebody uploaded it; it is recorded in place of where the file lies here.
        replace, add: as ``Catalog.put``.

    Raises:
        DuplicateName: the name is a model's from another source.
        TooManyBadSamples, NotEnoughSamples, InvalidFeatures, InvalidStatistics, GeneratorError: nothing was written.
    """
    origin = source_to_origin(source, upload)
    encoder_id = catalog.encoder_id(identity)
    digest = content_digest(source, identity, settings)
    if encoder_id is not None and _is_unchanged(catalog, name, encoder_id, digest):
        catalog.put_origin(name, identity.name, origin)
        model = catalog.update(name, details) if details else catalog.model(name)
        return IngestResult(model, False)
    catalog.check_origin(name, identity.name, origin, replace=replace, add=add)
    state = IngestState(Moments(identity.dimension))
    if isinstance(source, MomentsSource):
        statistics = _moments_to_statistics(source, identity, settings)
    elif isinstance(source, FeatureSource):
        features_to_state(source, settings, state, dimension=identity.dimension, on_progress=on_progress)
        statistics = state.moments.to_statistics(settings.epsilon)
    else:
        encoder_id = catalog.register_encoder(identity)  # only now: a refused source must not settle who the encoder is
        try:
            state = _images_to_state(
                catalog, settings, source, encoder, identity, name, encoder_id, digest, on_progress
            )
            statistics = state.moments.to_statistics(settings.epsilon)
        except (TooManyBadSamples, NotEnoughSamples):
            catalog.drop_checkpoint(name, encoder_id)
            raise
    ingested = Ingested(
        name=name,
        details=details,
        statistics=statistics,
        source=origin.source,
        source_digest=digest,
        generator=origin.generator,
        sample_features=state.kept_features(),
        thumbnails=tuple(state.thumbnails),
        quarantine=tuple(Quarantined(name_to_label(one.label), name_to_label(one.reason)) for one in state.quarantine),
        kind=str(origin.generator["type"]) if origin.generator else "unknown",
    )
    encoder_id = catalog.register_encoder(identity)
    return IngestResult(catalog.put(ingested, encoder_id, replace=replace, add=add), True)


def source_to_origin(source: Source, upload: str | None = None) -> Origin:
    """What is recorded of a source: its description with its content's digest, and its generator's by itself.

    Raises:
        InvalidInput: its description holds what no database can.
    """
    described = {**checked_json("the source's description", source.describe()), "digest": source.digest()}
    generator = described.pop("generator", None)
    if upload is not None:
        described.pop("path", None)
        described["upload"] = upload
    return Origin(described, generator)


def content_digest(source: Source, identity: EncoderIdentity, settings: Settings) -> str:
    """What determines a model's stored statistics: its content, the encoder, and the settings that shape them."""
    shaping = (settings.epsilon, settings.kept_features, settings.kept_thumbnails, settings.thumbnail_size)
    text = f"{source.digest()}\n{identity.fingerprint}\n{shaping}"
    return hashlib.sha256(text.encode()).hexdigest()


def cannot_encode(encoder: str) -> InvalidQuery:
    """The error for pictures under an encoder of statistics alone."""
    return InvalidQuery(
        f"{encoder!r:.80} is known only by statistics from elsewhere and cannot encode images",
        hint="give an encoder that can be loaded: see engine encoders",
    )


def _is_unchanged(catalog: Catalog, name: str, encoder_id: int, digest: str) -> bool:
    """Whether the stored statistics are those of this content, and undamaged: ingesting again must mend them."""
    return catalog.source_digest(name, encoder_id) == digest and catalog.is_whole(name, encoder_id)


def _images_to_state(
    catalog: Catalog,
    settings: Settings,
    source: ImageSource,
    encoder: Encoder | None,
    identity: EncoderIdentity,
    name: str,
    encoder_id: int,
    digest: str,
    on_progress: OnProgress | None,
) -> IngestState:
    state = IngestState(Moments(identity.dimension))
    if encoder is None:
        raise cannot_encode(identity.name)
    saved = catalog.checkpoint(name, encoder_id, digest)
    if saved is not None:
        try:
            state = bytes_to_state(saved)
        except CorruptData:
            catalog.drop_checkpoint(name, encoder_id)
    return images_to_state(
        source,
        encoder,
        settings,
        state,
        on_progress=on_progress,
        save=lambda s: catalog.save_checkpoint(name, encoder_id, digest, s.position, state_to_bytes(s)),
    )


def _moments_to_statistics(source: MomentsSource, identity: EncoderIdentity, settings: Settings) -> Statistics:
    statistics = checked_statistics(
        source.mean, source.covariance, epsilon=settings.epsilon, samples=source.samples or 1,
        rounded_to=source.rounded_to,
    )  # fmt: skip
    if statistics.mean.size != identity.dimension:
        raise EncoderMismatch(
            f"the moments have {statistics.mean.size} dimensions, {identity.name} has {identity.dimension}",
            hint="name the encoder they were made with",
        )
    return statistics
