"""Names that resemble one that no model has: few, and found quickly however many models there are."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from engine.storage.ordering import ByBytes
from engine.storage.tables import ModelRow
from engine.texts import LONGEST_SUGGESTED, is_storable

BESIDE = 200
"""Names before and behind the given one in the order of names."""
LOOKED_AT, ALIKE = 50_000, 1000
"""Names that are looked at for a half of the given one, and how many of these are enough."""
FEW = 1000
"""Names of which all are taken."""


def names_like(session: Session, given: str) -> Iterator[str]:
    """Names among which the given one may have been meant: all of few, else those beside it in the order of names and

    those that contain its first or its second half, for one slip of the pen leaves a half as it was.
    """
    if not 0 < len(given) <= LONGEST_SUGGESTED or not is_storable(given):
        return
    name = ByBytes(ModelRow.name)
    few = session.scalars(select(ModelRow.name).limit(FEW + 1)).all()
    if len(few) <= FEW:
        yield from few
        return
    seen: set[str] = set()
    half = (len(given) + 1) // 2
    some = select(ModelRow.name).limit(LOOKED_AT).subquery()
    halves = [func.lower(some.c.name).contains(part.lower(), autoescape=True) for part in (given[:half], given[half:])]
    for query in (
        select(ModelRow.name).where(name >= given).order_by(name).limit(BESIDE),
        select(ModelRow.name).where(name < given).order_by(name.desc()).limit(BESIDE),
        select(some.c.name).where(or_(*halves) if given[half:] else halves[0]).limit(ALIKE),
    ):
        for found in session.scalars(query):
            if found not in seen:
                seen.add(found)
                yield found
