"""Numbers that callers give: one range and one way to judge them, whatever the database."""

from __future__ import annotations

from typing import Any, SupportsFloat, SupportsIndex

from engine.errors import EngineError, InvalidInput

LARGEST = 2**31 - 1
"""The largest whole number that fits an integer column of every database."""
LARGEST_SIZE = 2**63 - 1
"""The same of sizes in bytes or pixels, which no column holds, and of ids."""


def checked_whole(
    value: Any, what: str, least: int = 0, most: int = LARGEST, *, error: type[EngineError] = InvalidInput
) -> int:
    """A whole number, of Python or NumPy, in ``[least, most]``.

    Raises:
        EngineError: ``error``, if it is anything else; True and False are, too.
    """
    whole = isinstance(value, SupportsIndex) and not isinstance(value, bool) and not getattr(value, "ndim", 0)
    if not whole or not least <= value.__index__() <= most:
        raise error(f"{what} must be a whole number of at least {least} and at most {most}, got {shown(value)}")
    return int(value.__index__())


def checked_number(
    value: Any, what: str, least: float, most: float, *, error: type[EngineError] = InvalidInput
) -> float:
    """A number, of Python or NumPy, in ``[least, most]``.

    Raises:
        EngineError: ``error``, if it is anything else; a NaN, True and False are, too.
    """
    number = isinstance(value, SupportsFloat) and not isinstance(value, bool) and not getattr(value, "ndim", 0)
    if not number or not least <= value <= most:  # compared as it is: not every whole number has a float
        raise error(f"{what} must be a number of at least {least:g} and at most {most:g}, got {shown(value)}")
    return float(value)


def shown(value: Any) -> str:
    """A value as Python writes it, cut short; also a whole number of more digits than Python writes."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"one of {value.bit_length()} bits"
    return f"{value!r:.80}"
