"""How the API's document describes errors."""

from __future__ import annotations

from typing import Any

from engine.server import problems

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": what,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, what in {
        400: "Not a request as it should be.", 401: "No valid API key.",
        403: "The key lacks the scope, or code would have to be trusted.", 404: "No such thing.",
        409: "In conflict with what is stored.", 413: "Too large.", 415: "Of another media type.",
        422: "What was sent cannot be used.", 429: "Too many requests.", 500: "A fault, or damaged data.",
        503: "The database or an encoder is not available.", 507: "The disk is full.",
    }.items()
}  # fmt: skip
TOLD: dict[str, Any] = {"responses": PROBLEMS}
"""What every route says of its errors."""
