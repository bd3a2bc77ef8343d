"""Parameters of an address: one that its route does not have is refused, and not silently ignored."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from engine.filters import FIELDS, is_filter
from engine.server.problems import Refused
from engine.texts import quoted, suggestion

FILTERED = "/v1/models"
"""The route that takes any filter as a parameter."""


async def known_parameters(request: Request) -> None:
    """Refuse a request of the API with a parameter that its route does not have.

    The page's routes ignore what they do not know: links from elsewhere carry parameters of their own.

    Raises:
        Refused: 422 that names the nearest one.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = _parameters(route.dependant)
    for key in request.query_params:
        if key in known or (route.path == FILTERED and _may_be_filter(key, known)):
            continue
        hint = suggestion(key, known, f"there are {', '.join(known)}" if known else "it takes none")
        raise Refused(422, "InvalidRequest", f"there is no parameter {quoted(key, 80)}", hint=hint)


def _may_be_filter(key: str, known: Sequence[str]) -> bool:
    """Whether a key is a filter's, or a misspelt one that filters refuse in their own words."""
    return is_filter(key) or suggestion(key, set(known).difference(FIELDS)) is None


def _parameters(dependant: Dependant) -> list[str]:
    """Names of the parameters that a route and its dependencies declare."""
    own = [field.alias for field in dependant.query_params]
    return own + [name for inner in dependant.dependencies for name in _parameters(inner)]
