"""What ``/metrics`` shows, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.gate import Gate

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Counted by name; whatever else a caller invents is counted together."""


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, gate: Gate) -> None:
        self._registry = CollectorRegistry()
        labels = ("route", "method", "status")
        self._requests = Counter("engine_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "engine_request_seconds", "From the first byte to the last.", ("route",), buckets=BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self._stages = Histogram(
            "engine_search_stage_seconds", "Of a search, by stage.", ("stage",), buckets=BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        for name, what, read in (
            ("engine_working", "Requests that hold a place.", lambda: gate.working),
            ("engine_waiting", "Requests that wait for a place.", lambda: gate.waiting),
        ):
            Gauge(name, what, registry=self._registry).set_function(read)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def search(self, timings_ms: Mapping[str, float]) -> None:
        """Count a search's stages."""
        for stage, milliseconds in timings_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)


class Measured:
    """Counts every request of an application, by its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.request(route, scope["method"], status, perf_counter() - started)
