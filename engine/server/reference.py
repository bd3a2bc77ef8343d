"""``/docs``: the OpenAPI document as a page of ours, which fetches nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from engine.server.access import RULES
from engine.server.page.render import page


def add_reference(app: FastAPI) -> None:
    """Add the page; the document itself is at ``/openapi.json``."""

    @cache
    def operations() -> list[dict[str, Any]]:
        document = app.openapi()
        return [
            {
                "method": method.upper(), "path": path, "scope": _scope(method.upper(), path), "said": said,
                "bodies": [
                    (kind, _type(body["schema"]))
                    for kind, body in said.get("requestBody", {}).get("content", {}).items()
                ],
                "answers": [
                    (status, answer["description"], [_type(one["schema"]) for one in _contents(answer)])
                    for status, answer in said["responses"].items() if status < "3"
                ],
            }
            for path, methods in document["paths"].items() for method, said in methods.items()
        ]  # fmt: skip

    @cache
    def schemas() -> list[tuple[str, str, list[tuple[str, str, str]]]]:
        found = app.openapi()["components"]["schemas"]
        return [
            (name, one.get("description", ""), [
                (field, _type(what), what.get("description", "")) for field, what in one.get("properties", {}).items()
            ])
            for name, one in found.items()
        ]  # fmt: skip

    @app.get("/docs", include_in_schema=False)
    async def reference() -> Response:
        """Every request and every shape."""
        return page("docs.html", operations=operations(), schemas=schemas(), version=app.version)


def _scope(method: str, path: str) -> str | None:
    rule = RULES.get((method, path.replace("{name}", "{name:path}")))
    return None if rule is None else rule.scope


def _contents(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in answer.get("content", {}).values() if "schema" in one]


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words: ``list of Hit``, ``text or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and schema.get("properties"):
        return "{" + ", ".join(f"{name}: {_type(one)}" for name, one in schema["properties"].items()) + "}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type") or "anything")
