"""What a search must know of a collection before it plans: read at once, and kept until something is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, case, func, literal, select, union_all
from sqlalchemy.orm import Session

from engine.errors import EncoderNotFound
from engine.records import EncoderIdentity, EncoderRef, Transform
from engine.storage.database import Database
from engine.storage.encoder_rows import read_encoders
from engine.storage.model_rows import LAST_CHANGE
from engine.storage.tables import EncoderRow, StatisticsRow, TransformRow, row_to_table
from engine.storage.transforms import read_transforms

Stamp = tuple[tuple[str, int, str], ...]
CHANGE = "change"
_ENCODERS, _TRANSFORMS, _STATISTICS = map(row_to_table, (EncoderRow, TransformRow, StatisticsRow))
_ACTIVE = case((_TRANSFORMS.c.active, literal("active")), else_=literal("kept"))
_STAMP = union_all(
    select(literal(CHANGE), LAST_CHANGE.scalar_subquery(), literal("")),
    select(literal("encoder"), func.coalesce(func.max(_ENCODERS.c.id), 0), literal("")),
    select(_ACTIVE, _TRANSFORMS.c.id, _TRANSFORMS.c.name + " " + _TRANSFORMS.c.checksum),
)
"""Whatever changes the facts changes this: statistics enter the change sequence, and encoders are never removed."""
_COUNT = select(func.count()).select_from(_STATISTICS).where(_STATISTICS.c.encoder_id == bindparam("encoder_id"))


@dataclass(frozen=True, eq=False)
class SearchFacts:
    """A collection as of one change.

    Attributes:
        change: the last change that had been committed.
        encoders: identities of the encoders, by id.
        counts: how many models have statistics, by encoder.
        active: the transforms that searches use unasked, by encoder.
        commits: how many transactions this process had committed before the facts were read.
    """

    change: int
    encoders: Mapping[int, EncoderIdentity]
    counts: Mapping[int, int]
    active: Mapping[int, Sequence[Transform]]
    commits: int
    stamp: Stamp

    def encoder(self, name: str | None, default: str) -> EncoderRef:
        """The encoder of that name; with None the default, or the only one that there is.

        Raises:
            EncoderNotFound
        """
        wanted = default if name is None else name
        names = ", ".join(identity.name for identity in self.encoders.values())
        for encoder_id, identity in self.encoders.items():
            if identity.name == wanted or (name is None and len(self.encoders) == 1):
                return EncoderRef(encoder_id, identity)
        if name is not None:
            raise EncoderNotFound(
                f"no model here has statistics of the encoder {name!r}",
                hint=f"the collection has {names or 'no statistics yet'}",
            )
        raise EncoderNotFound(
            f"the collection has no statistics of its default encoder {default!r}",
            hint=f"name one of: {names}" if names else "ingest a model first",
        )


class FactsReader:
    """Reads a collection's facts with one statement where nothing has changed. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._facts: SearchFacts | None = None

    def read(self) -> SearchFacts:
        """The facts as of now: what anybody has committed is seen."""
        commits = self._database.commits
        with self._database.read() as session:
            stamp: Stamp = tuple(
                sorted((kind, number, text) for kind, number, text in session.connection().execute(_STAMP))
            )
            known = self._facts
            if known is None or known.stamp != stamp or known.commits != commits:
                known = self._facts = self._fresh(session, stamp, commits, known)
        return known

    def at_hand(self) -> SearchFacts:
        """The facts as they were last read, or read again if this process has committed since."""
        known = self._facts
        return known if known is not None and known.commits == self._database.commits else self.read()

    @staticmethod
    def _fresh(session: Session, stamp: Stamp, commits: int, known: SearchFacts | None) -> SearchFacts:
        if known is not None and known.stamp == stamp:  # this process has committed something else
            return SearchFacts(known.change, known.encoders, known.counts, known.active, commits, stamp)
        encoders = read_encoders(session)
        active: dict[int, list[Transform]] = {encoder_id: [] for encoder_id in encoders}
        for transform in read_transforms(session, TransformRow.active):
            active.setdefault(transform.encoder_id, []).append(transform)
        counts = {i: int(session.scalar(_COUNT, {"encoder_id": i}) or 0) for i in encoders}
        change = next(number for kind, number, _ in stamp if kind == CHANGE)
        return SearchFacts(change, encoders, counts, active, commits, stamp)
