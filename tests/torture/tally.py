"""What a section of the torture did, and what it found: one line of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Say = Callable[[str], None]
"""Progress, on stderr."""


@dataclass
class Tally:
    """One section: what was ``done`` by name (``{"kills": 300}``), and each thing that went wrong, in words.

    ``losses`` are acknowledged models that are gone or changed, ``wrong`` answers that were wrong and did not say so,
    ``untyped`` errors that a user met and that are none of the engine's own.
    """

    section: str
    done: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    untyped: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.losses or self.wrong or self.untyped)

    def line(self) -> str:
        """``kills, sqlite: 300 kills; losses 0, silent wrong answers 0, untyped errors 0``."""
        done = ", ".join(f"{number} {what}" for what, number in self.done.items())
        found = f"losses {len(self.losses)}, silent wrong answers {len(self.wrong)}, untyped errors {len(self.untyped)}"
        return f"{self.section}: {done}; {found}"
