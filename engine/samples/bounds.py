"""How much a source may hold. What lies on this machine may be large; what somebody uploaded is bounded closely."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.numbers import LARGEST, LARGEST_SIZE
from engine.records import MOST_SAMPLES

HERE = "ingest it on the server itself: engine ingest"


@dataclass(frozen=True)
class Bounds:
    """The defaults are for sources that the caller chose; an array's and an archive's bytes are bounded by settings."""

    dimension: int = LARGEST
    """Of features and moments: statistics take a few matrices of so many rows and columns."""
    samples: int = MOST_SAMPLES
    """Rows of features."""
    members: int = LARGEST
    """Files in an archive, pictures or not."""
    member_bytes: int = LARGEST_SIZE
    """Of one picture's file, unpacked."""
    unpacked_bytes: int = LARGEST_SIZE
    """What an archive or an array may unpack to."""

    def check(self, what: str, value: int, most: int, unit: str) -> None:
        """Refuse what is larger than is allowed.

        Raises:
            InvalidInput: ``value`` is above ``most``.
        """
        if value > most:
            raise InvalidInput(f"{what} has {value} {unit}, more than the {most} allowed here", hint=HERE)

    def check_shape(self, what: str, rows: int, dimension: int) -> None:
        """Refuse features ``(rows, dimension)`` that are too many or too wide.

        Raises:
            InvalidInput: they are.
        """
        self.check(what, dimension, self.dimension, "dimensions")
        self.check(what, rows, self.samples, "samples")


GENEROUS = Bounds()
