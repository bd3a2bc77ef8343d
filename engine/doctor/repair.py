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
from dataclasses import replace
from functools import partial

from engine.doctor.examine import Collection, OnProgress, examine
from engine.doctor.findings import Finding, Mend
from engine.errors import EngineError, MissingStatistics
from engine.records import EncoderRef
from engine.rerank.scorer import SAMPLES, factors_name
from engine.search.map import MAP, index_to_map, save_map
from engine.search.spaces import FIRST_MOMENT, LINEAR, WHITENED, transform_to_key
from engine.search.upkeep import SIMILAR
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


def repair(collection: Collection, on_progress: OnProgress | None = None) -> list[Finding]:
    """Examine, mend, and examine again: every finding, those that are mended marked, and what is left.

    ``on_progress`` is called with (stage, done, total).
    """
    before = after = examine(collection, on_progress)
    for _ in range(ROUNDS):
        mends = {one.mend for one in after if one.mend}
        if not mends:
            break
        for done, mend in enumerate(sorted(mends, key=lambda one: (ORDER.index(one.kind), one.encoder_id)), 1):
            try:
                _mend(collection, mend, on_progress)
            except EngineError as error:  # the others may still be mended; the next examination says what is left
                log.warning("%s", error)
            if on_progress is not None:
                on_progress("repair", done, len(mends))
        after = examine(collection, on_progress)
    left = {finding.what for finding in after}
    return [replace(one, repaired=True) for one in before if one.mend and one.what not in left] + after


def _mend(collection: Collection, mend: Mend, on_progress: OnProgress | None) -> None:
    encoder_id = mend.encoder_id
    actions: dict[str, Callable[[], object]] = {
        "orphans": collection.checks.remove_orphans,
        "changes": lambda: collection.checks.give_changes(encoder_id),
        "checkpoint": lambda: collection.catalog.drop_checkpoint(mend.subject, encoder_id),
    }
    if mend.kind in actions:
        actions[mend.kind]()
        return
    encoder = EncoderRef(encoder_id, collection.catalog.encoders()[encoder_id])
    derived: dict[str, Callable[[], object]] = {
        "whitening": lambda: _fit_again(collection, encoder),
        "index": lambda: _build_again(collection, encoder, mend.subject),
        "stray": lambda: _records(collection, encoder, mend.subject, on_progress, anew=True),
        "records": lambda: _records(collection, encoder, mend.subject, on_progress, anew=False),
        "lists": lambda: collection.checks.forget_lists(encoder_id, collection.checks.wrong_neighbours(encoder_id)),
        "neighbours": lambda: None,
        "agreement": lambda: collection.indexes.measure_agreement(encoder),
        "map": lambda: _draw_again(collection, encoder),
    }
    derived[mend.kind]()
    if mend.kind in ("lists", "neighbours"):
        collection.similar.complete(encoder, on_progress=on_progress and partial(on_progress, SIMILAR))


def _build_again(collection: Collection, encoder: EncoderRef, key: str) -> None:
    if key == FIRST_MOMENT:
        collection.views.rebuild(encoder)
    elif key == LINEAR:
        collection.views.rebuild(encoder, collection.transforms.linear(encoder, collection.settings.shrinkage))
    else:
        for transform in collection.transforms.indexed(encoder.id):
            if transform_to_key(transform) == key:
                collection.views.rebuild(encoder, collection.transforms.space(transform))


def _draw_again(collection: Collection, encoder: EncoderRef) -> None:
    view = collection.views.current(encoder)
    save_map(collection.views.beside(encoder.identity, MAP), index_to_map(view.index, view.change))


def _fit_again(collection: Collection, encoder: EncoderRef) -> None:
    with suppress(MissingStatistics):
        collection_to_whitening(collection.catalog, collection.transforms.transforms, encoder)
        for key in (WHITENED, LINEAR):
            if collection.views.has(encoder, key):
                _build_again(collection, encoder, key)


def _records(
    collection: Collection, encoder: EncoderRef, folder: str, on_progress: OnProgress | None, *, anew: bool
) -> None:
    """Make damaged records again; all of them where the directory cannot be used. Files that no search reads go."""
    _, _, name = folder.rpartition("..")
    if anew or name not in (factors_name(collection.settings.shrinkage), SAMPLES):
        shutil.rmtree(collection.views.root / folder, ignore_errors=True)
        collection.statistics.stores.forget(encoder.id)
    collection.indexes.keep_records(encoder, on_progress, verified=True)
