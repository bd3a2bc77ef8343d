"""Cells: one searcher over one collection at one size, each in a process of its own, each written when it is done.

So that its memory is its own, a cell's process builds it, measures it and ends. What is written is not measured again.
A cell that failed, ran out of time or cannot be measured here says so in its file, and is tried again next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from engine.bench.data import DIMENSION, QUERIES, SEED
from engine.bench.searcher import named, path_of

Say = Callable[[str], None]
Result = dict[str, Any]
FORMAT = 1
BUILT = "built"
"""The folder in the scratch folder that a cell has for itself, empty, and that is removed after it."""
TIMEOUT = 4 * 3600.0
"""Seconds that a cell may take, graphs over a million vectors included."""


@dataclass(frozen=True)
class Cell:
    """What is measured: a searcher by its path (``module:Name``), or a task that is no searcher."""

    work: str
    title: str
    variant: str
    data: str
    models: int
    dimension: int = DIMENSION
    queries: int = QUERIES
    seed: int = SEED

    @property
    def name(self) -> str:
        """A file's name for it: readable, and of its own."""
        plain = re.sub(r"[^\w.]+", "-", f"{self.data}-{self.models}-{self.title}-{self.variant}").strip("-")
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{plain[:80]}-{digest}.json"


def cells(
    kinds: Mapping[str, type[Any]],
    sizes: Sequence[int],
    data: Sequence[str],
    *,
    dimension: int,
    queries: int,
    seed: int,
) -> list[Cell]:
    """Every variant of every searcher on every collection; small collections first."""
    return [
        Cell(path_of(kind), title, variant, name, n, dimension, queries, seed)
        for n in sorted(sizes)
        for name in data
        for title, kind in kinds.items()
        for variant in kind.variants(n)
    ]


def finished(cell: Cell, folder: Path) -> Result | None:
    """What was measured of a cell before, or None."""
    try:
        found: Result = json.loads((folder / cell.name).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found if found.get("format") == FORMAT and "missing" not in found else None


def measure_all(
    wanted: Sequence[Cell], folder: Path, scratch: Path, *, again: bool, say: Say, timeout: float = TIMEOUT
) -> list[Result]:
    """Every cell's result, those from before included. Collections are drawn into ``scratch`` and kept there."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for number, cell in enumerate(wanted, 1):
        place = f"[{number}/{len(wanted)}] {cell.data} {cell.models} {cell.title} {cell.variant}".rstrip()
        known = None if again else finished(cell, folder)
        if known is not None:
            say(f"{place}: measured before")
            results.append(known)
            continue
        reason = named(cell.work).absent()
        started = perf_counter()
        result = {"missing": reason} if reason else in_child(cell, scratch, timeout)
        result = {"format": FORMAT, "cell": asdict(cell), "seconds": perf_counter() - started, **result}
        write(folder / cell.name, result)
        took = f"{result['seconds']:.0f} s"
        say(f"{place}: {'not measured, ' + result['missing'] if 'missing' in result else took}")
        results.append(result)
    return results


def in_child(cell: Cell, scratch: Path, timeout: float) -> Result:
    """Measure in a fresh process; ``missing`` says why there is no result."""
    scratch.mkdir(parents=True, exist_ok=True)
    answer, own = scratch / "result.json", scratch / BUILT
    answer.unlink(missing_ok=True)
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    (scratch / "cell.json").write_text(json.dumps(asdict(cell)), encoding="utf-8")
    errors = scratch / "errors.txt"
    alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with errors.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "engine.bench.child", str(scratch)],
            stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **alone},
        )  # fmt: skip
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
    said = errors.read_text(encoding="utf-8", errors="replace").strip()
    shutil.rmtree(own, ignore_errors=True)
    if code == 0 and answer.is_file():
        found: Result = json.loads(answer.read_text(encoding="utf-8"))
        return found
    if code is None:
        return {"missing": f"not done after {timeout:.0f} s"}
    last = said.splitlines()[-1] if said else "it said nothing"
    return {"missing": f"its process ended with {code}: {last[:300]}", "said": said[-4000:]}


def write(path: Path, result: Result) -> None:
    """Write beside and rename: a file that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def _end(child: subprocess.Popen[bytes]) -> None:
    """The process and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM if child.poll() is None else signal.SIGKILL)
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
