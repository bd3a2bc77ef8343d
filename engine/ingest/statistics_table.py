"""What a file of many models' moments is read to."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.errors import InvalidStatistics

TAGS = frozenset({"tag", "tags"})
COVARIANCES = frozenset({"cov", "covs", "covariance", "covariances", "sigma", "sigmas"})


@dataclass(frozen=True)
class StatisticsTable:
    """The arguments of ``Engine.ingest_statistics``, for some or all rows of a file of ``total``."""

    names: list[str]
    means: NDArray[Any]
    samples: NDArray[Any]
    covariances: NDArray[Any] | None
    tags: list[list[str] | None] | None
    total: int


def check_spelling(path: Path, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse a misspelled optional column or array: it would be left out without a word.

    Raises:
        InvalidStatistics: tags or covariances stand under another name than that of ``known``.
    """
    names = set(given)
    for words in (TAGS, COVARIANCES):
        right = next(word for word in known if word in words)
        near = sorted(name for name in names if name.casefold() in words)
        if near and right not in names:
            raise InvalidStatistics(
                f"{path.name} has {near[0]!r}: did you mean {right!r}?", hint="rename it, or leave it out"
            )


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
