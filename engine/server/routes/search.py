"""Searching."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from engine.server import schemas
from engine.server.json_bodies import body_of, parsed, read_json
from engine.server.large import heads_of
from engine.server.routes.problems import TOLD
from engine.server.searching import FORM, answered, check_batch, request_to_parts
from engine.server.served import Served

SEARCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Query"}},
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "query": {"type": "string", "description": "The JSON of a Query."},
                        "image": {"type": "string", "format": "binary"},
                        "sketch": {"type": "string", "format": "binary"},
                    },
                }
            },
        },
    }
}


def add_search(app: FastAPI, served: Served) -> None:
    """Searching."""
    engine, limits, gate, large, metrics = served.engine, served.limits, served.gate, served.large, served.metrics

    @app.post("/v1/search", response_model=schemas.Answer, tags=["search"], openapi_extra=SEARCH_BODY, **TOLD)
    async def search(request: Request) -> Any:
        """Find the models that most likely draw what is asked."""
        text, pictures = await request_to_parts(request)
        query = await parsed(gate, schemas.Query, text, limits.values)
        heads = heads_of([query], pictures.values())
        found = await large.run(heads, answered, engine, limits, query, pictures)
        metrics.search(found["timings_ms"])
        return found

    @app.post(
        "/v1/search/batch",
        response_model=schemas.Answers,
        tags=["search"],
        openapi_extra=body_of(schemas.Batch),
        **TOLD,
    )
    async def search_batch(request: Request) -> Any:
        """Several searches in one request; one that is wrong refuses them all."""
        batch = await parsed(gate, schemas.Batch, await read_json(request), 4 * limits.values)
        check_batch(batch.queries, limits)
        answers = await large.run(
            heads_of(batch.queries), lambda: [answered(engine, limits, query, {}) for query in batch.queries]
        )
        for one in answers:
            metrics.search(one["timings_ms"])
        return {"answers": answers}
