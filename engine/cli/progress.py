"""Progress on stderr: a bar where that is a terminal, elsewhere one line for each finished model."""

from __future__ import annotations

import os
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from engine.cli.output import say

if TYPE_CHECKING:
    from engine.ingest.report import IngestOutcome


WIDEST = 40
"""Of a bar's columns, those of the model's name: the rate must fit beside it."""


def ended(name: str) -> str:
    """A name, or where it is long its end: of a path, that is what tells one from another."""
    return name if len(name) <= WIDEST else f"…{name[1 - WIDEST :]}"


class IngestProgress:
    """What is shown while models are ingested; use as a context manager.

    The rate counts from the first batch on: an interrupted model goes on where it stopped, and loading the
    encoder is not encoding.
    """

    def __init__(self) -> None:
        self._live = _can_show_a_bar()
        self._bar: Any = None
        self._place = ""
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None

    def __enter__(self) -> IngestProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def entry(self, number: int, entries: int, name: str) -> IngestProgress:
        """A model begins; the result is its ``on_progress``."""
        self._close()
        self._place = f"[{number}/{entries}] " if entries > 1 else ""
        self._first = self._last = None
        if self._live:
            from tqdm import tqdm

            desc = f"{self._place}{ended(name)}"
            self._bar = tqdm(desc=desc, unit=" images", leave=False, dynamic_ncols=True)
        return self

    def __call__(self, done: int, total: int, quarantined: int) -> None:
        """So many samples are done (``OnProgress``)."""
        self._last = (done, perf_counter())
        if self._first is None:
            self._first = self._last
            if self._bar is not None:
                self._bar.reset(total)
                self._bar.initial = self._bar.n = done
        if self._bar is not None:
            if quarantined:
                self._bar.set_postfix_str(f"{quarantined} bad", refresh=False)
            self._bar.update(done - self._bar.n)

    def outcome(self, outcome: IngestOutcome) -> None:
        """A model is finished."""
        self._close()
        if self._live and outcome.error is None:
            return
        said = outcome.status
        if outcome.error is not None:
            said = f"failed: {outcome.error.message}"
        elif outcome.model is not None and outcome.status != "unchanged":
            bad = f" ({outcome.model.quarantined} bad ones left out)" if outcome.model.quarantined else ""
            said = f"{outcome.status}, {outcome.model.samples} samples{bad}{self._rate()}"
        say(f"{self._place}{outcome.name}: {said}")

    def neighbours(self, done: int, total: int) -> None:
        """So many lists of similar models are complete."""
        if not self._live:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc="similar models", total=total, unit=" models", leave=False, dynamic_ncols=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _rate(self) -> str:
        if self._first is None or self._last is None or self._last[0] == self._first[0]:
            return ""
        rate = (self._last[0] - self._first[0]) / max(self._last[1] - self._first[1], 1e-9)
        return f", {rate:.0f} images/s"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class StageProgress:
    """A bar for each stage of a long command; elsewhere one line when a stage is done. Use as a context manager."""

    def __init__(self) -> None:
        self._live = _can_show_a_bar()
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """So much of a stage is done (``OnProgress`` of an evaluation)."""
        if self._live:
            if stage != self._stage:
                from tqdm import tqdm

                self._close()
                self._bar = tqdm(desc=stage, total=total, leave=False, dynamic_ncols=True)
                self._stage = stage
            self._bar.update(done - self._bar.n)
        elif done == total:
            say(f"{stage}: {total} done")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class RateProgress(StageProgress):
    """As ``StageProgress``; where there is no terminal, a line says how fast a stage went."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit
        self._begun = self._ended = perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """So much of a stage is done."""
        if self._live:
            super().__call__(stage, done, total)
            return
        if stage != self._stage:
            self._stage, self._begun = stage, self._ended
        self._ended = perf_counter()
        if done == total:
            say(f"{stage}: {total} {self._unit}, {total / max(self._ended - self._begun, 1e-9):.0f} {self._unit}/s")


def _can_show_a_bar() -> bool:
    """Whether stderr is a terminal with a width: some that containers give have none."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False
