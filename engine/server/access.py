"""Who may call which route, and how large a body it takes: one table, which docs/server.md shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from engine.storage.keys import ADMIN, DRAW, READ, WRITE

SESSION_SCOPES = (READ, DRAW)
"""What the page's session may do at most: whatever changes the collection must show its key by itself."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rule:
    """What a route asks of its callers; ``body`` names the field of ``Limits`` that bounds what they send."""

    scope: str | None
    body: str = "details_bytes"
    page: bool = False
    """Whether people read the answer: without a key they are sent to sign in."""


MODEL = "/v1/models/{name:path}"
RULES: Mapping[tuple[str, str], Rule] = MappingProxyType({
    ("POST", "/v1/search"): Rule(READ, "search_bytes"),
    ("POST", "/v1/search/batch"): Rule(READ, "batch_bytes"),
    ("GET", "/v1/models"): Rule(READ),
    ("GET", MODEL): Rule(READ),
    ("PUT", MODEL): Rule(WRITE, "body_bytes"),
    ("PATCH", MODEL): Rule(WRITE),
    ("DELETE", MODEL): Rule(WRITE),
    ("GET", f"{MODEL}/similar"): Rule(READ),
    ("GET", f"{MODEL}/samples"): Rule(READ),
    ("POST", f"{MODEL}/samples"): Rule(DRAW, "drawing_bytes"),
    ("POST", "/v1/ingest"): Rule(WRITE, "upload_bytes"),
    ("GET", "/v1/ingest"): Rule(WRITE),
    ("GET", "/v1/ingest/{job_id}"): Rule(WRITE),
    ("DELETE", "/v1/ingest/{job_id}"): Rule(WRITE),
    ("GET", "/v1/encoders"): Rule(READ),
    ("GET", "/metrics"): Rule(READ),
    ("GET", "/healthz"): Rule(None),
    ("GET", "/readyz"): Rule(None),
    ("GET", "/docs"): Rule(None),
    ("GET", "/openapi.json"): Rule(None),
    ("GET", "/"): Rule(READ, page=True),
    ("POST", "/pictures"): Rule(READ, "form_bytes", page=True),
    ("GET", "/pictures/{name}"): Rule(READ, page=True),
    ("GET", "/mosaics/{model_id}/{version}"): Rule(READ, page=True),
    ("GET", "/previews/{model_id}/{version}/{position}"): Rule(READ, page=True),
    ("GET", "/models"): Rule(READ, page=True),
    ("GET", "/models/{name:path}"): Rule(READ, page=True),
    ("GET", "/compare"): Rule(READ, page=True),
    ("GET", "/explore"): Rule(READ, page=True),
    ("GET", "/explore.json"): Rule(READ, page=True),
    ("GET", "/login"): Rule(None, page=True),
    ("POST", "/login"): Rule(None, "login_bytes", page=True),
    ("POST", "/logout"): Rule(None, "login_bytes", page=True),
    ("GET", "/static/{digest}/{name}"): Rule(None, page=True),
})  # fmt: skip
NOWHERE = Rule(READ)
"""Of requests that no route takes: what there is, is told to those who may read."""


def rule_of(routes: Sequence[BaseRoute], scope: Scope) -> Rule:
    """The rule of the route that takes a request."""
    for route in routes:
        match, _ = route.matches(scope)
        if match == Match.FULL:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            return RULES.get((method, getattr(route, "path", UNKNOWN)), ADMIN_ONLY)
    return NOWHERE


ADMIN_ONLY = Rule(ADMIN)
"""Of a route that the table lacks, which a test does not let happen."""


def granted(scope: Mapping[str, Any]) -> frozenset[str]:
    """The scopes of whoever sent a request; none before the guard has let it through."""
    found: frozenset[str] = scope.get("engine.scopes", frozenset())
    return found
