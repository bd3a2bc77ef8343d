"""What became of each entry of a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import EngineError, IngestError
from engine.records import Model


def to_ingest_error(error: Exception) -> EngineError:
    """What is reported of a model that failed: an error that was not expected becomes the cause of one of ours."""
    if isinstance(error, EngineError):
        return error
    found = IngestError(
        f"unexpected {type(error).__name__}: {error}", hint="this is a fault in engine; ENGINE_DEBUG=1 shows where"
    )
    found.__cause__ = error
    return found


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
