"""What a server accepts; every limit stands in the message of the refusal."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.numbers import LARGEST_SIZE, checked_whole
from engine.samples.bounds import Bounds


@dataclass(frozen=True)
class Limits:
    """Whole numbers of at least 1. Pictures' pixels are bounded by ``Settings.max_pixels``."""

    body_bytes: int = 32 * 2**20
    """Of one request that has no limit of its own below."""
    search_bytes: int = 16 * 2**20
    """Of one search, pictures included."""
    batch_bytes: int = 32 * 2**20
    """Of one batch of searches."""
    form_bytes: int = 16 * 2**20
    """Of a picture that the page asks with."""
    details_bytes: int = 128 * 2**10
    """Of a change to a model's metadata."""
    drawing_bytes: int = 4 * 2**10
    """Of a request to draw."""
    login_bytes: int = 4 * 2**10
    """Of a sign-in."""
    upload_bytes: int = 2**30
    """Of one upload to be ingested."""
    in_flight_bytes: int = 256 * 2**20
    """Of the bodies of all requests at once; one caller may have a quarter."""
    body_seconds: int = 30
    """That a body may take, and besides a second for each 64 KB."""
    body_pause: int = 20
    """Seconds that may pass between two parts of a body."""
    uploads_at_once: int = 8
    """Uploads that come at the same time, half of them from one caller."""
    connections: int = 512
    """Connections at the same time; one that waits for a request makes room for a new one."""
    values: int = 100_000
    """Numbers, texts and other values in the JSON of a search; a batch and moments may have more."""
    uploads_bytes: int = 8 * 2**30
    """Of all uploads that wait to be ingested, together."""
    upload_seconds: int = 3600
    """That ingesting one takes; then it ends, and goes on where it was when the same file comes again."""
    dimension: int = 4096
    """Of features and moments that are sent: statistics take several matrices of so many rows and columns."""
    upload_samples: int = 1_000_000
    """Features in one upload."""
    upload_members: int = 200_000
    """Files in one archive that is uploaded, pictures or not."""
    member_bytes: int = 256 * 2**20
    """Of one picture's file in it, unpacked."""
    unpacked_bytes: int = 2 * 2**30
    """That an upload may unpack to."""
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
    page: int = 500
    """Models on one page of a listing."""
    drawn: int = 64
    """Images drawn by one request."""
    drawn_pixels: int = 64_000_000
    """Of these images together."""
    draw_seconds: int = 60
    """That drawing them takes."""
    searches: int = 8
    """Requests that work at the same time; others wait."""
    waiting: int = 256
    """Requests that may wait; more are turned away with 429."""

    def __post_init__(self) -> None:
        for field in fields(self):
            checked_whole(getattr(self, field.name), f"limit {field.name}", 1, LARGEST_SIZE)

    def of_uploads(self) -> Bounds:
        """What an upload may hold."""
        return Bounds(self.dimension, self.upload_samples, self.upload_members, self.member_bytes, self.unpacked_bytes)
