"""Models' records that were read lately, each checked against its row before it is used again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine.records import Model
from engine.storage.model_rows import IDS, chunks, models_by_id
from engine.storage.tables import ModelRow, row_to_table

KEPT = 10_000
"""Records of a kilobyte or so."""
_MODELS = row_to_table(ModelRow)
_UPDATED = select(_MODELS.c.id, _MODELS.c.updated_at).where(_MODELS.c.id.in_(IDS))
Version = tuple[datetime, Model]


class RecordCache:
    """Records by id. Whatever changes a model's record sets its ``updated_at``. Threads may share it."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._known: OrderedDict[int, Version] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, session: Session, ids: Iterable[int]) -> dict[int, Model]:
        """Records by id; ids that are gone are left out. One short statement where all are known."""
        connection = session.connection()
        updated: dict[int, datetime] = {}
        for block in chunks(ids):
            updated.update((row[0], row[1]) for row in connection.execute(_UPDATED, {"ids": block}))
        with self._lock:
            found = {i: self._known[i][1] for i, at in updated.items() if i in self._known and self._known[i][0] == at}
            for model_id in found:
                self._known.move_to_end(model_id)
        missing = [model_id for model_id in updated if model_id not in found]
        if missing:
            fresh = models_by_id(session, missing)
            found |= fresh
            with self._lock:
                self._known.update((model_id, (updated[model_id], model)) for model_id, model in fresh.items())
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
        return found
