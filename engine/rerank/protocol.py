"""What the exact stage is told of a search: whose statistics it reads, and as of which change."""

from __future__ import annotations

from typing import Protocol

from engine.records import EncoderIdentity


class View(Protocol):
    """The encoder whose statistics are searched, and the last change that the search contains."""

    @property
    def encoder_id(self) -> int:
        """The encoder's row."""

    @property
    def identity(self) -> EncoderIdentity:
        """The encoder."""

    @property
    def change(self) -> int:
        """The last change."""
