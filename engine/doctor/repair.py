"""Mending what can be mended from the truth in SQL. Nothing of the truth itself is changed or removed.

What is mended are indexes, records, lists of similar models, whitenings and measurements, which are made again, and
rows that nothing can reach. Damaged statistics, features and previews stay as they are: only their samples can mend
them, and until then whatever reads them leaves that model out.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from engine.doctor.examine import OnProgress, Parts, examine
from engine.doctor.findings import Finding, Mend
from engine.errors import EngineError, MissingStatistics
from engine.rerank.scorer import SAMPLES, factors_name
from engine.search.map import MAP, index_to_map, save_map
from engine.search.spaces import FIRST_MOMENT, LINEAR, WHITENED, transform_to_key
from engine.search.whitening import collection_to_whitening

log = logging.getLogger("engine.doctor")
ORDER = (
    "orphans",
    "changes",
    "checkpoint",
    "whitening",
    "index",
    "stray",
    "records",
    "lists",
    "neighbours",
    "agreement",
    "map",
)
"""What is derived comes after what it is derived from."""
ROUNDS = 2
"""A mended change sequence leaves indexes behind it, for example, which the second round brings up."""


@dataclass(frozen=True, eq=False)
class Makers:
    """What makes the derived things of an encoder, by its id: the lists, the files of records, the agreement."""

    lists: Callable[[int], None]
    records: Callable[[int], None]
    agreement: Callable[[int], None]


def repair(parts: Parts, makers: Makers, on_progress: OnProgress | None = None) -> list[Finding]:
    """Examine, mend, and examine again: every finding, those that are mended marked, and what is left.

    ``on_progress`` is called with (stage, done, total).
    """
    before = after = examine(parts, on_progress)
    for _ in range(ROUNDS):
        mends = {one.mend for one in after if one.mend}
        if not mends:
            break
        for done, mend in enumerate(sorted(mends, key=lambda one: (ORDER.index(one.kind), one.encoder_id)), 1):
            try:
                _mend(parts, makers, mend)
            except EngineError as error:  # the others may still be mended; the next examination says what is left
                log.warning("%s", error)
            if on_progress is not None:
                on_progress("repair", done, len(mends))
        after = examine(parts, on_progress)
    left = {finding.what for finding in after}
    return [replace(one, repaired=True) for one in before if one.mend and one.what not in left] + after


def _mend(parts: Parts, makers: Makers, mend: Mend) -> None:
    encoder_id = mend.encoder_id
    actions: dict[str, Callable[[], object]] = {
        "orphans": parts.checks.remove_orphans,
        "changes": lambda: parts.checks.give_changes(encoder_id),
        "checkpoint": lambda: parts.catalog.drop_checkpoint(mend.subject, encoder_id),
        "whitening": lambda: _fit_again(parts, encoder_id),
        "index": lambda: _build_again(parts, encoder_id, mend.subject),
        "stray": lambda: _records(parts, makers, mend, anew=True),
        "records": lambda: _records(parts, makers, mend, anew=False),
        "lists": lambda: parts.checks.forget_lists(encoder_id, parts.checks.wrong_neighbours(encoder_id)),
        "neighbours": lambda: None,
        "agreement": lambda: makers.agreement(encoder_id),
        "map": lambda: _draw_again(parts, encoder_id),
    }
    actions[mend.kind]()
    if mend.kind in ("lists", "neighbours"):
        makers.lists(encoder_id)


def _build_again(parts: Parts, encoder_id: int, key: str) -> None:
    identity = parts.catalog.encoders()[encoder_id]
    if key == FIRST_MOMENT:
        parts.views.rebuild(encoder_id, identity)
    elif key == LINEAR:
        parts.views.rebuild(encoder_id, identity, parts.maps.linear(encoder_id, identity, parts.settings.shrinkage))
    else:
        for transform in parts.maps.indexed(encoder_id):
            if transform_to_key(transform) == key:
                parts.views.rebuild(encoder_id, identity, parts.maps.space(transform))


def _draw_again(parts: Parts, encoder_id: int) -> None:
    identity = parts.catalog.encoders()[encoder_id]
    view = parts.views.current(encoder_id, identity)
    save_map(parts.views.beside(identity, MAP), index_to_map(view.index, view.change))


def _fit_again(parts: Parts, encoder_id: int) -> None:
    identity = parts.catalog.encoders()[encoder_id]
    with suppress(MissingStatistics):
        collection_to_whitening(parts.catalog, parts.maps.transforms, encoder_id, identity)
        for key in (WHITENED, LINEAR):
            if parts.views.has(encoder_id, identity, key):
                _build_again(parts, encoder_id, key)


def _records(parts: Parts, makers: Makers, mend: Mend, *, anew: bool) -> None:
    """Make damaged records again; all of them where the directory cannot be used. Files that no search reads go."""
    _, _, name = mend.subject.rpartition("..")
    if anew or name not in (factors_name(parts.settings.shrinkage), SAMPLES):
        shutil.rmtree(parts.views.root / mend.subject, ignore_errors=True)
        parts.evidence.stores.forget(mend.encoder_id)
    makers.records(mend.encoder_id)
