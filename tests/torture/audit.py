"""After a kill: what stands in the database, what doctor says, and whether searches equal the brute-force answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine import Engine
from engine.config import Settings
from engine.errors import EngineError
from tests.torture import content
from tests.torture.operations import Entry, State, abandon, entry_to_moments, opened
from tests.torture.truth import Row, Truth, densities, disagreement, first_moments, read_truth

SAME = 1e-6
"""Of stored float32 moments and NumPy's float64 ones: features have norm 1, so this is absolute."""
CLOSE = 1e-5
"""Of scores, relative to 1 + their size: records of 16 and 24 bits and float32 sums."""
QUERIES = 2


@dataclass
class Found:
    """What an audit found; see ``Tally`` for what the three kinds mean."""

    losses: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    untyped: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.losses or self.wrong or self.untyped)


def audit(
    url: str, settings: Settings, possible: Sequence[State], seed: int, *, publish: bool, newest_id: int = 0
) -> tuple[State, Found]:
    """Compare a collection with the states that it may be in: the state that it is in, and what is wrong.

    The collection is first examined as the kill left it, then searched and, with ``publish``, closed properly.
    ``newest_id`` is the highest id that was ever seen: models that are new must have a higher one.
    """
    found = Found()
    try:
        truth = read_truth(url)
        found.wrong += truth.broken
        state = _settled(truth, possible, found, newest_id)
        eng = opened(url, settings)
        try:
            _examine(eng, truth, seed, found)
        finally:
            if publish:
                eng.close()
            else:
                abandon(eng)
    except EngineError as error:
        found.wrong.append(f"an error where none is due: {type(error).__name__}: {error}")
        return dict(possible[-1]), found
    except Exception as error:
        found.untyped.append(f"{type(error).__name__}: {error}")
        return dict(possible[-1]), found
    return state, found


def _settled(truth: Truth, possible: Sequence[State], found: Found, newest_id: int) -> State:
    """The possible state that the database is in, with the ids that it has."""
    against: list[list[str]] = []
    for state in possible:
        against.append(differences(truth, state, newest_id))
        if not against[-1]:
            break
    best = min(range(len(against)), key=lambda place: len(against[place]))
    found.losses += against[best]
    settled = {name: entry for name, entry in possible[best].items() if name in truth.rows}
    return {name: replace(entry, id=truth.rows[name].id) for name, entry in settled.items()}


def differences(truth: Truth, state: State, newest_id: int) -> list[str]:
    """In what a database is not in that state."""
    found = [f"{name} is gone" for name in state.keys() - truth.rows.keys()]
    found += [f"{name} is there, and must not be" for name in truth.rows.keys() - state.keys()]
    for name in state.keys() & truth.rows.keys():
        found += [f"{name}: {what}" for what in _unlike(truth.rows[name], state[name], newest_id)]
    return sorted(found)


def _unlike(row: Row, entry: Entry, newest_id: int) -> list[str]:
    expected = entry_to_moments(entry)
    found = []
    if row.samples != expected.samples:
        found.append(f"{row.samples} samples, not {expected.samples}")
    if not np.allclose(row.mean, expected.mean, rtol=0, atol=SAME):
        found.append("another mean than was sent")
    if row.covariance is None or not np.allclose(row.covariance, expected.covariance, rtol=0, atol=SAME):
        found.append("another covariance than was sent")
    if row.tags != entry.tags:
        found.append(f"tags {row.tags}, not {entry.tags}")
    if row.description != entry.description:
        found.append(f"description {row.description!r}, not {entry.description!r}")
    if entry.id is not None and row.id != entry.id:
        found.append(f"id {row.id}, was {entry.id}")
    if entry.id is None and row.id <= newest_id:
        found.append(f"id {row.id}, which another model had")
    return found


def _examine(eng: Engine, truth: Truth, seed: int, found: Found) -> None:
    found.wrong += [f"doctor: {one.what}" for one in eng.doctor() if one.severity == "damage"]
    if not truth.rows:
        return
    found.wrong += unequal_searches(eng, truth, seed)
    rows = sorted(truth.rows.values(), key=lambda row: row.id)
    name = rows[seed % len(rows)].name
    if name in [hit.name for hit in eng.search(model=name, k=len(rows))]:
        found.wrong.append("search(model=…) answered with the model itself")
    strangers = [hit.name for hit in eng.similar(name, k=5) if hit.name not in truth.rows or hit.name == name]
    if strangers:
        found.wrong.append(f"similar({name}) answered with {strangers}")


def unequal_searches(eng: Engine, truth: Truth, seed: int) -> list[str]:
    """Where searches by the first moment and by density differ from the brute-force answers."""
    found = []
    rows = sorted(truth.rows.values(), key=lambda row: row.id)
    known = {row.id: row.name for row in rows}
    for number in range(QUERIES):
        query = content.query(seed + number)
        everything = len(rows) + 5
        scores, ids = eng.search_vectors(query, everything, "first_moment", recall=1.0)
        found.append(disagreement("first_moment", rows, first_moments(rows, query), scores, ids, CLOSE))
        k = 10 if number else everything
        scores, ids = eng.search_vectors(query, k, "gaussian_density")
        if eng.names(ids[ids >= 0]) != [known.get(int(i)) for i in ids if i >= 0]:
            found.append("names(ids) are not the names of these ids")
        whitening = read_truth(eng.services.database.url.render_as_string(hide_password=False)).whitening
        expected = densities(rows, query, whitening, eng.settings.shrinkage)
        found.append(disagreement("gaussian_density", rows, expected, scores, ids, CLOSE))
    return [what for what in found if what is not None]
