"""JSON bodies to the models of ``schemas``: read on the loop, bounded by a scan, parsed in a thread of the gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from engine.server.gate import Gate
from engine.server.problems import Refused

Shape = TypeVar("Shape", bound=BaseModel)
JSON = "application/json"
SMALL = 64 * 2**10
"""Bytes that are parsed on the loop, within a millisecond or two."""
NESTED = 20_000
"""Lists and objects in one body."""
REFERENCE = "#/components/schemas/{model}"


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """What the API's document says of a route with such a body."""
    schema = {"$ref": REFERENCE.format(model=kind.__name__)}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


async def read_json(request: Request) -> bytes:
    """A request's JSON, not parsed yet.

    Raises:
        Refused: 415, it is of another media type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, ""):
        raise Refused(415, "UnsupportedMediaType", f"the body is {JSON}, got {kind!r:.80}")
    return await request.body()


def json_to(kind: type[Shape], text: str | bytes, values: int) -> Shape:
    """JSON to a model of ``schemas``; what would become more than so many values is not parsed.

    Raises:
        Refused: 422, too many values.
        RequestValidationError: it is not JSON, or not of that shape.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    nested, listed = data.count(b"[") + data.count(b"{"), data.count(b",")
    if nested > NESTED or listed > values:
        raise Refused(
            422, "LimitExceeded",
            f"the JSON of this request may have {values:,} values and {NESTED:,} lists and objects, "
            f"got {listed:,} commas and {nested:,} brackets",
        )  # fmt: skip
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RequestValidationError(json.loads(error.json(include_url=False, include_input=False))) from error


async def parsed(gate: Gate, kind: type[Shape], text: str | bytes, values: int) -> Shape:
    """As ``json_to``; a large one in a thread of the gate.

    Raises:
        Refused, RequestValidationError
    """
    return json_to(kind, text, values) if len(text) <= SMALL else await gate.run(json_to, kind, text, values)


def describe(app: FastAPI, kinds: Sequence[type[BaseModel]]) -> None:
    """Put the shapes of bodies that routes parse themselves into the API's document."""
    document = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = document()["components"]["schemas"]
            for kind in kinds:
                schema = kind.model_json_schema(ref_template=REFERENCE)
                schemas.update(schema.pop("$defs", {}))
                schemas[kind.__name__] = schema
        return document()

    app.openapi = whole  # type: ignore[method-assign]
