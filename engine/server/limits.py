"""What a server accepts; every limit stands in the message of the refusal."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.numbers import LARGEST_SIZE, checked_whole


@dataclass(frozen=True)
class Limits:
    """Whole numbers of at least 1. Pictures' pixels are bounded by ``Settings.max_pixels``."""

    body_bytes: int = 32 * 2**20
    """Of one request, pictures included."""
    upload_bytes: int = 2**30
    """Of one upload to be ingested."""
    jobs: int = 16
    """Uploads that may wait to be ingested; more are turned away with 429."""
    grace: int = 30
    """Seconds that a server which is told to stop takes to finish what it has accepted."""
    text_characters: int = 2000
    """Of one text query."""
    k: int = 1000
    """Answers of one search, those that ``offset`` skips included."""
    batch: int = 64
    """Searches in one batch."""
    batch_answers: int = 4096
    """Answers of all searches in one batch, those that offsets skip included."""
    shortlist: int = 10_000
    """Candidates that the exact stage looks at in one search; a batch's are counted together."""
    statement_seconds: int = 5
    """That one statement of a request may take of the database."""
    page: int = 500
    """Models on one page of a listing."""
    drawn: int = 64
    """Images drawn by one request."""
    searches: int = 8
    """Requests that work at the same time; others wait."""
    waiting: int = 256
    """Requests that may wait; more are turned away with 429."""

    def __post_init__(self) -> None:
        for field in fields(self):
            checked_whole(getattr(self, field.name), f"limit {field.name}", 1, LARGEST_SIZE)
