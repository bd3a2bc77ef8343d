"""``python -m engine.bench.child FOLDER``: measure the cell that is described there, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engine.bench import data
from engine.bench.cells import BUILT, Cell, write
from engine.bench.measure import measured
from engine.bench.searcher import Searcher, named


def main(scratch: Path) -> None:
    """Measure the cell of ``cell.json`` and write ``result.json``."""
    cell = Cell(**json.loads((scratch / "cell.json").read_text(encoding="utf-8")))
    work: Any = named(cell.work)
    if issubclass(work, Searcher):
        result = measured(work, cell.variant, collection(cell, scratch), scratch / BUILT)
    else:
        result = work.measured(cell, scratch)
    write(scratch / "result.json", result)


def collection(cell: Cell, scratch: Path) -> data.Drawn:
    """The cell's collection, drawn into the scratch folder by the first that needs it."""
    folder = scratch / f"{cell.data}-{cell.models}"
    data.draw(folder, cell.data, cell.models, dimension=cell.dimension, queries=cell.queries, seed=cell.seed)
    return data.read(folder)


def _watch(parent: int) -> None:
    """Stop when the process that started this one has gone: it can no longer stop it."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os.kill(os.getpid(), signal.SIGTERM)


def _stopped(number: int, frame: object) -> None:
    """So that whatever a searcher has started is stopped with it."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stopped)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    main(Path(sys.argv[1]))
