"""What an evaluation tells of its progress."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


def silent(stage: str, done: int, total: int) -> None:
    """Say nothing."""
