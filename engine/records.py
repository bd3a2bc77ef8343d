"""Frozen records that travel between the parts. They know no torch, no SQL and no FAISS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.numbers import LARGEST

MOST_SAMPLES = LARGEST
"""Behind one model's statistics."""


@dataclass(frozen=True)
class Model:
    """One generative model of the collection, as the catalogue knows it.

    ``id`` is never used again after a removal. ``encoders`` names the encoders whose statistics it has;
    ``samples`` counts the samples behind the newest of them. ``generator`` is the record from which more samples
    can be drawn, or None.
    """

    id: int
    name: str
    kind: str
    tags: tuple[str, ...] = ()
    description: str | None = None
    author: str | None = None
    license: str | None = None
    base_model: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    resolution: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    generator: Mapping[str, Any] | None = None
    encoders: tuple[str, ...] = ()
    samples: int = 0
    quarantined: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, eq=False)
class Statistics:
    """First two moments of a model's features under one encoder.

    Attributes:
        mean: ``(d,)`` float32, μ, the mean of the unit-norm features, itself not renormalised.
        covariance: ``(d, d)`` float32, the sample covariance (ddof = 1) **without** ε, or None if unknown.
        epsilon: ε; the Σ of every formula is ``covariance + epsilon * I``.
        samples: how many features went in, 1 to ``MOST_SAMPLES``.
    """

    mean: NDArray[np.float32]
    covariance: NDArray[np.float32] | None
    epsilon: float
    samples: int


@dataclass(frozen=True, eq=False)
class StoredStatistics:
    """A model's statistics as stored, with the change that wrote them (a new change means new content)."""

    model_id: int
    statistics: Statistics
    change: int


@dataclass(frozen=True)
class Transform:
    """A linear map in which search can score, as the catalogue knows it; its arrays are read by themselves.

    Attributes:
        name: unique in the collection, e.g. ``sketch-first_moment-triangular-1``.
        encoder_id: whose features it maps.
        method: the rule that it is for: ``first_moment``, ``gaussian_density`` or ``whitened_first_moment``.
        modality: the queries that it is for: ``image``, ``sketch``, ``text``, or ``any``.
        parameterisation: ``diagonal``, ``triangular``, ``full`` or ``whitening``.
        version: counts transforms of the same modality, method and parameterisation.
        checksum: SHA-256 of its stored arrays.
        report: how it was made and how well it does; JSON.
        active: whether searches use it by themselves; at most one of an encoder, method and modality is.
    """

    id: int
    name: str
    encoder_id: int
    method: str
    modality: str
    parameterisation: str
    version: int
    checksum: str
    report: Mapping[str, Any]
    active: bool
    created_at: datetime


@dataclass(frozen=True)
class EncoderIdentity:
    """Who made a feature. Statistics with different identities never meet.

    ``fingerprint`` is a hex digest of the weights and of the preprocessing, so that the same name
    with other weights is another encoder. ``logit_scale`` is 1/τ, the encoder's own temperature
    (100 for OpenAI CLIP). ``modalities`` is a subset of ``{"image", "text"}``.
    """

    name: str
    fingerprint: str
    dimension: int
    logit_scale: float
    modalities: frozenset[str]


class EncoderRef(NamedTuple):
    """An encoder that made statistics in a collection, and its number there."""

    id: int
    identity: EncoderIdentity


@dataclass(frozen=True)
class Thumbnail:
    """One preview picture: encoded bytes and their media type (``image/webp``)."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class Quarantined:
    """A sample that was left out, and why."""

    label: str
    reason: str


class Origin(NamedTuple):
    """Where a model's samples came from: its source's description, and its generator's record if it has one."""

    source: Mapping[str, Any]
    generator: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Ingested:
    """Everything that ingesting one model writes, in one transaction.

    ``details`` holds the descriptive fields that were given (the others keep what they have); ``sample_features``
    is ``(n, d)`` float16 or None; ``kind`` is that of a model that is new, where ``details`` does not say.
    """

    name: str
    details: Mapping[str, Any]
    statistics: Statistics
    source: Mapping[str, Any]
    source_digest: str
    generator: Mapping[str, Any] | None = None
    sample_features: NDArray[np.float16] | None = None
    thumbnails: tuple[Thumbnail, ...] = ()
    quarantine: tuple[Quarantined, ...] = ()
    kind: str = "model"

    @property
    def origin(self) -> Origin:
        """Where the samples came from."""
        return Origin(self.source, self.generator)


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a query, as it was given.

    Attributes:
        modality: ``text``, ``image``, ``sketch`` or ``model``.
        value: the text, the picture (a path, a PIL image or an array ``(h, w[, c])``) or the model's name.
        weight: its exponent in the product of experts, 1e-9 to 1e9.
        name: what it is called in the hits; by default its modality, with a number where there are several of it.
    """

    modality: str
    value: Any
    weight: float = 1.0
    name: str | None = None


@dataclass(frozen=True, eq=False)
class QueryPart:
    """One encoded part of a query.

    Attributes:
        modality: ``text``, ``image``, ``sketch`` or ``model``.
        feature: ``(d,)`` float32 of unit norm.
        weight: its exponent in the product of experts.
        model_id: for a model query, the model to leave out of its own answers.
        name: what it is called in the hits.
    """

    modality: str
    feature: NDArray[np.float32]
    weight: float = 1.0
    model_id: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Hit:
    """One answer. ``rank`` counts from 1; ``score`` is higher for better (for distances it is lower for better).

    ``parts`` holds what each part of a mixed query contributed, by the part's name.
    """

    rank: int
    name: str
    score: float
    model: Model
    parts: Mapping[str, float] = field(default_factory=dict)


class Hits(tuple[Hit, ...]):
    """A tuple of ``Hit`` in rank order that also says how it was found.

    ``method`` is the rule that scored it, ``timings_ms`` the wall time of each stage, ``shortlist`` how many
    candidates the exact stage looked at (None when there was none), ``left_out`` how many models had no finite
    score or lacked what the method needs, ``transform`` the name of the stored transform that scored it, if one did,
    ``remarks`` sentences about values of the filter that no model has, ``lower_is_nearer`` whether the scores are
    distances.
    """

    method: str
    timings_ms: dict[str, float]
    shortlist: int | None
    left_out: int
    transform: str | None
    remarks: tuple[str, ...]
    lower_is_nearer: bool

    def __new__(
        cls,
        hits: tuple[Hit, ...] | list[Hit] = (),
        *,
        method: str,
        timings_ms: dict[str, float] | None = None,
        shortlist: int | None = None,
        left_out: int = 0,
        transform: str | None = None,
        remarks: tuple[str, ...] = (),
        lower_is_nearer: bool = False,
    ) -> Hits:
        self = super().__new__(cls, hits)
        self.method = method
        self.timings_ms = timings_ms or {}
        self.shortlist = shortlist
        self.left_out = left_out
        self.transform = transform
        self.remarks = remarks
        self.lower_is_nearer = lower_is_nearer
        return self


class Models(list[Model]):
    """A list of models; ``remarks`` are sentences about values of the filter that no model has."""

    remarks: tuple[str, ...]

    def __init__(self, models: Iterable[Model] = (), *, remarks: tuple[str, ...] = ()) -> None:
        super().__init__(models)
        self.remarks = remarks
