"""What many processes did and saw, in one clock, and what of it cannot be.

Every call is noted with the moments before it began and after it returned; ``time.monotonic`` is one clock for all
processes of a machine. A call took effect somewhere in between. From that follows what a search may answer: nothing
whose removal had returned before it began, nothing that was never written, no score of content that had been replaced,
and everything that was there for the whole time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.torture import content
from tests.torture.truth import Truth

CLOSE = 1e-4


@dataclass(frozen=True)
class Write:
    """A call that wrote. ``id`` is the model's; ``seed`` its content's, or for ``field`` the counter's value."""

    kind: str
    name: str
    began: float
    ended: float
    id: int = -1
    seed: int = -1
    field: str = ""


@dataclass(frozen=True)
class Search:
    """A search: ``ids`` and ``scores`` as answered. ``lag`` seconds of others' writes it need not have seen."""

    method: str
    began: float
    ended: float
    query: int
    ids: tuple[int, ...]
    scores: tuple[float, ...]
    lag: float
    complete: bool


@dataclass(frozen=True)
class Reading:
    """A counter's value, as a reader saw it."""

    field: str
    value: int
    began: float
    ended: float


@dataclass
class History:
    """All of it."""

    writes: list[Write] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def impossible(self) -> list[str]:
        """Every answer that cannot be."""
        by_id: dict[int, list[Write]] = {}
        for write in self.writes:
            if write.kind in ("put", "remove"):
                by_id.setdefault(write.id, []).append(write)
        found = [what for search in self.searches for what in _judged(search, by_id)]
        return found + [what for reading in self.readings for what in self._judged_reading(reading)]

    def lost(self, truth: Truth) -> list[str]:
        """Acknowledged writes that the database does not show at the end."""
        found = []
        rows = {row.id: row for row in truth.rows.values()}
        by_id: dict[int, list[Write]] = {}
        for write in self.writes:
            if write.kind in ("put", "remove"):
                by_id.setdefault(write.id, []).append(write)
        for model_id, writes in by_id.items():
            removed = any(write.kind == "remove" for write in writes)
            if removed == (model_id in rows):
                found.append(f"{writes[0].name} (id {model_id}) is {'there' if removed else 'gone'}")
            elif not removed and not any(_is_content(rows[model_id].mean, seed) for seed in _last(writes)):
                found.append(f"{writes[0].name} (id {model_id}) has none of the contents that were written last")
        found += [f"{name} (id {row.id}) was written by nobody" for name, row in truth.rows.items()
                  if row.id not in by_id and name != COUNTER]  # fmt: skip
        return found + self._lost_updates(truth)

    def _lost_updates(self, truth: Truth) -> list[str]:
        found = []
        for field_name in sorted({write.field for write in self.writes if write.kind == "count"}):
            last = max(write.seed for write in self.writes if write.kind == "count" and write.field == field_name)
            stored = truth.rows[COUNTER].fields[field_name]
            if stored != str(last):
                found.append(f"lost update: {field_name} is {stored}, its writer's last acknowledged one was {last}")
        return found

    def _judged_reading(self, reading: Reading) -> list[str]:
        values = [write for write in self.writes if write.kind == "count" and write.field == reading.field]
        least = max((write.seed for write in values if write.ended < reading.began), default=0)
        most = max((write.seed for write in values if write.began < reading.ended), default=0)
        if least <= reading.value <= most + 1:  # a writer that was stopped in a call has not noted it
            return []
        return [f"the counter {reading.field} was read as {reading.value}, must be between {least} and {most}"]


COUNTER = "counter"


def _last(writes: Sequence[Write]) -> list[int]:
    """Contents that can be the last one: no other was put entirely after it."""
    puts = [write for write in writes if write.kind == "put"]
    return [one.seed for one in puts if not any(other.began > one.ended for other in puts)]


def _is_content(mean: np.ndarray, seed: int) -> bool:
    return bool(np.allclose(mean, content.moments(seed).mean, rtol=0, atol=1e-6))


def _judged(search: Search, by_id: dict[int, list[Write]]) -> Iterable[str]:
    """What is impossible about one search."""
    since = search.began - search.lag
    where = f"{search.method} at {search.began:.3f}"
    for model_id, score in zip(search.ids, search.scores, strict=True):
        writes = by_id.get(model_id)
        if writes is None:
            yield f"{where}: id {model_id}, which was never committed"
            continue
        removal = next((write for write in writes if write.kind == "remove"), None)
        if removal is not None and removal.ended < since:
            yield f"{where}: {removal.name} (id {model_id}), removed {search.began - removal.ended:.3f} s before"
        if all(write.began > search.ended for write in writes):
            yield f"{where}: {writes[0].name} (id {model_id}), whose ingest had not begun"
        if search.method == "first_moment" and not any(
            abs(_cosine(seed, search.query) - score) < CLOSE for seed in _possible(writes, since, search.ended)
        ):
            yield f"{where}: {writes[0].name} (id {model_id}) has the score of no content that it can have had"
    if len(set(search.ids)) != len(search.ids):
        yield f"{where}: an id came twice"
    if search.complete:
        yield from _missing(search, by_id, since, where)


def _possible(writes: Sequence[Write], since: float, until: float) -> list[int]:
    """Contents that a search between two moments may have seen."""
    puts = [write for write in writes if write.kind == "put" and write.began <= until]
    return [one.seed for one in puts if not any(other.began > one.ended and other.ended < since for other in puts)]


def _missing(search: Search, by_id: dict[int, list[Write]], since: float, where: str) -> Iterable[str]:
    seen = set(search.ids)
    for model_id, writes in by_id.items():
        if model_id in seen:
            continue
        there = any(write.kind == "put" and write.ended < since for write in writes)
        if there and not any(write.kind == "remove" and write.began <= search.ended for write in writes):
            yield f"{where}: {writes[0].name} (id {model_id}) is missing, and was there all the time"


def _cosine(seed: int, query: int) -> float:
    mean = content.moments(seed).mean
    return float(mean @ content.query(query).astype(np.float64) / np.linalg.norm(mean))
