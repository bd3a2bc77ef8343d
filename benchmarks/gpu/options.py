"""What is run, and how much of it: handed from the command line to each section's process as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Options:
    """``device`` is torch's name of it; ``full`` says that all the package's dependencies are there.

    ``seconds`` is how long a figure is measured, ``deadline`` when the section must have ended, by ``time.monotonic``.
    """

    device: str = "cuda"
    full: bool = False
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    dimension: int = 512
    models: int = 300
    shortlist: int = 100
    seconds: float = 1.0
    deadline: float = 0.0

    def to_json(self) -> str:
        """As ``from_json`` takes it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """As ``to_json`` gives it."""
        fields = json.loads(text)
        return cls(**{**fields, "sizes": tuple(fields["sizes"])})
