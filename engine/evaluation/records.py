"""The rows that a report is made of. Shares are in [0, 1], times in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.evaluation.bootstrap import Difference, Estimate


@dataclass(frozen=True)
class Cut:
    """A part of the queries: all of a ``modality``, or of these one ``group``, one ``kind`` or ``tag`` of right models.

    ``by`` says which: ``modality``, ``group``, ``kind`` (within each group, where there are groups) or ``tag``.
    """

    by: str
    modality: str
    group: str | None = None
    kind: str | None = None
    tag: str | None = None

    @property
    def label(self) -> str:
        """``image, unseen, gan``."""
        return ", ".join(part for part in (self.modality, self.group, self.kind, self.tag) if part)


@dataclass(frozen=True)
class Row:
    """One method's measures on one cut.

    Attributes:
        rule: the rule that scored; of ``auto`` the one it chose. ``transform``: the stored transform, if any.
        models: how many models are right for one of the queries or more. ``owners``: how many the bootstrap draws from:
            models, or concepts.
        untagged: queries left out of mAP: no right model has a tag.
        measures: each of ``MEASURES``.
        signal_queries: how many queries are in strata that carry signal; None where strata are not told apart.
        with_signal: ``measures`` over these queries alone; None if there are none.
    """

    cut: Cut
    method: str
    rule: str
    transform: str | None
    queries: int
    models: int
    owners: int
    untagged: int
    measures: Mapping[str, Estimate]
    signal_queries: int | None = None
    with_signal: Mapping[str, Estimate] | None = None


@dataclass(frozen=True)
class Stratum:
    """One kind of models in one modality (and group), and whether methods can be compared on it.

    ``verdict`` is ``signal``, ``no signal``, ``too easy`` or ``too few models``; ``best`` the method with the highest
    top-1 accuracy, ``top_1``.
    """

    cut: Cut
    queries: int
    models: int
    verdict: str
    best: str
    top_1: Estimate


@dataclass(frozen=True)
class Comparison:
    """One method's measure less another's on the same queries of a cut."""

    cut: Cut
    measure: str
    method: str
    other: str
    difference: Difference


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile of one query's time: ``encode`` (method None), or ``rank``."""

    stage: str
    modality: str
    method: str | None
    median: float
    p95: float


@dataclass(frozen=True)
class DropOff:
    """The mean curve of the ten best scores; see ``drop_off``. NaN where no query has so many answers."""

    modality: str
    method: str
    curve: tuple[float, ...]


@dataclass(frozen=True)
class Confusions:
    """``pairs`` of (the model asked for, the model found first instead, how often), most frequent first.

    ``errors`` counts the queries for which no right model was first.
    """

    modality: str
    method: str
    errors: int
    pairs: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class SamplesPoint:
    """Top-1 accuracy with statistics of at most so many ``samples`` a model; None: all that are stored."""

    modality: str
    method: str
    samples: int | None
    top_1: Estimate


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation of ``queries`` judged queries among ``models`` models.

    ``chance`` is the mean share of models that are right, 1/N if each query has one; ``shortlist`` what the exact
    methods looked at; ``untagged`` counts the queries that mAP leaves out: none of their right models has a tag.
    ``rows`` come cut by cut, and within a cut in the order of ``methods``.
    """

    encoder: str
    models: int
    queries: int
    untagged: int
    methods: tuple[str, ...]
    shortlist: int
    resamples: int
    seed: int
    chance: float
    rows: tuple[Row, ...]
    strata: tuple[Stratum, ...]
    comparisons: tuple[Comparison, ...]
    latencies: tuple[Latency, ...]
    drop_offs: tuple[DropOff, ...]
    confusions: tuple[Confusions, ...]
    samples_curve: tuple[SamplesPoint, ...]
