"""What a file of many models' moments is read to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.errors import InvalidStatistics


@dataclass(frozen=True)
class StatisticsTable:
    """The arguments of ``Engine.ingest_statistics``, for some or all rows of a file of ``total``."""

    names: list[str]
    means: NDArray[Any]
    samples: NDArray[Any]
    covariances: NDArray[Any] | None
    tags: list[list[str] | None] | None
    total: int


def json_to_tags(path: Path, text: str) -> list[str]:
    """A model's tags, as the text of one row of ``path``.

    Raises:
        InvalidStatistics: it is not a JSON list of texts.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise InvalidStatistics(
            f"tags in {path.name} must be JSON lists of texts, got {text[:60]!r}",
            hint='a row is, for example, ["animal", "fox"]; Parquet may also have a column of lists of texts',
        )
    return found
