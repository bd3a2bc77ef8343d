"""What the routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass

from engine import Engine
from engine.server.bodies import Held
from engine.server.gate import Gate
from engine.server.jobs import Jobs
from engine.server.large import LargePictures
from engine.server.limits import Limits
from engine.server.metrics import Metrics
from engine.server.warming import Warming


@dataclass(frozen=True, eq=False)
class Served:
    """One open collection, and what bounds and counts the work on it.

    Attributes:
        trust: whether generators that are trusted on this machine may run code.
        warming: what must be prepared before the server is ready.
    """

    engine: Engine
    limits: Limits
    gate: Gate
    large: LargePictures
    metrics: Metrics
    held: Held
    jobs: Jobs
    trust: bool = False
    warming: Warming | None = None
