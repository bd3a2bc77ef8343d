"""What became of each entry of a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import EngineError
from engine.records import Model


@dataclass(frozen=True)
class IngestOutcome:
    """One entry: ``status`` is ``added``, ``replaced``, ``unchanged`` or ``failed`` (then ``error`` says why)."""

    name: str
    status: str
    model: Model | None = None
    error: EngineError | None = None


@dataclass
class IngestReport:
    """All outcomes, in the manifest's order."""

    outcomes: list[IngestOutcome] = field(default_factory=list)

    def count(self, status: str) -> int:
        """How many entries ended that way."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def failed(self) -> list[IngestOutcome]:
        """The entries that failed."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]
