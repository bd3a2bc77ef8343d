"""Shard patterns: ``shard-{000..010}.tar`` to eleven file names."""

from __future__ import annotations

import re
from itertools import islice, product

from engine.errors import InvalidInput

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST_SHARDS = 100_000


def pattern_to_names(pattern: str) -> list[str]:
    """Expand every ``{first..last}``; leading zeros set the width, as in a shell. Without one: the pattern alone.

    Raises:
        InvalidInput: a range runs backwards, or there would be more than 100 000 names.
    """
    pieces = RANGE.split(pattern)  # text, first, last, text, first, last, …, text
    ranges = []
    total = 1
    for first, last in zip(pieces[1::3], pieces[2::3], strict=True):
        low, high = int(first), int(last)
        total *= high - low + 1
        if high < low or total > MOST_SHARDS:
            raise InvalidInput(
                f"the shard pattern {pattern!r} is empty or stands for more than {MOST_SHARDS} files",
                hint="write {000..010}: first, two dots, last",
            )
        width = len(first) if first.startswith("0") or last.startswith("0") else 0
        ranges.append([f"{number:0{width}d}" for number in range(low, high + 1)])
    texts = pieces[0::3]
    return [
        texts[0] + "".join(number + text for number, text in zip(chosen, texts[1:], strict=True))
        for chosen in islice(product(*ranges), total)
    ]


def has_range(name: str) -> bool:
    """Whether a name is a pattern."""
    return RANGE.search(name) is not None
