"""Models: listing, describing, drawing, writing, removing."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response

from engine import Engine
from engine.distances import FRECHET
from engine.errors import ModelNotFound
from engine.records import Model
from engine.server import schemas
from engine.server.access import granted
from engine.server.addresses import Name
from engine.server.drawing import Lines, drawn_lines
from engine.server.encoders import check_encoder
from engine.server.json_bodies import body_of, json_to, read_json
from engine.server.limits import Limits
from engine.server.problems import Refused
from engine.server.routes.problems import TOLD
from engine.server.served import Served
from engine.server.told import model_to_told
from engine.shapes import hits_to_json

PAGE = 100
"""Models on a page, unless told."""
PAGING = ("sort", "limit", "cursor")
FILTER = Query(description="A comma means any of these; of several all must hold.")


def add_models(app: FastAPI, served: Served) -> None:
    """Models: listing, describing, drawing, writing, removing."""
    engine, limits, gate, trust = served.engine, served.limits, served.gate, served.trust

    @app.get("/v1/models", response_model=schemas.Page, tags=["models"], **TOLD)
    async def models(
        request: Request,
        tag: Annotated[list[str] | None, FILTER] = None,
        kind: Annotated[list[str] | None, FILTER] = None,
        author: Annotated[list[str] | None, FILTER] = None,
        name: Annotated[list[str] | None, FILTER] = None,
        license: Annotated[list[str] | None, FILTER] = None,
        base_model: Annotated[list[str] | None, FILTER] = None,
        sort: Annotated[str, Query(description="name, created_at or updated_at; - turns it round.")] = "name",
        limit: Annotated[int | None, Query(ge=1)] = None,
        cursor: Annotated[str | None, Query(description="The next of the page before.")] = None,
    ) -> Any:
        """Models that a filter admits, page by page.

        Whatever is not `sort`, `limit` or `cursor` is a filter, also `tag!=sketch`, `name~=bird` and `meta.KEY=VALUE`.
        """
        size = min(PAGE, limits.page) if limit is None else limit
        if size > limits.page:
            raise Refused(422, "LimitExceeded", f"a page may have {limits.page} models, got {size}")
        where = [(key, value) for key, value in request.query_params.multi_items() if key not in PAGING]
        page = await gate.run(engine.page, where or None, sort=sort, limit=size, cursor=cursor)
        models = [model_to_told(model, granted(request.scope)) for model in page.models]
        return {"models": models, "next": page.next, "remarks": list(page.remarks)}

    @app.get("/v1/models/{name:path}/similar", response_model=schemas.Answer, tags=["models"], **TOLD)
    async def similar(
        name: Name, k: Annotated[int, Query(ge=1)] = 10, distance: str = FRECHET.name, encoder: str | None = None
    ) -> Any:
        """Models whose samples are distributed like this one's."""
        if k > limits.k:
            raise Refused(422, "LimitExceeded", f"k may be {limits.k}, got {k}")
        encoder = await gate.run(check_encoder, engine, encoder)
        return hits_to_json(await gate.run(engine.similar, name, k, distance=distance, encoder=encoder))

    @app.get("/v1/models/{name:path}/samples", response_model=schemas.Samples, tags=["models"], **TOLD)
    async def samples(name: Name) -> Any:
        """A model's preview pictures."""
        found = await gate.run(engine.thumbnails, name)
        return {
            "samples": [
                {"position": i, "media_type": one.media_type, "data": base64.b64encode(one.data).decode()}
                for i, one in enumerate(found)
            ]
        }

    @app.post(
        "/v1/models/{name:path}/samples", response_model=schemas.Drawn, response_class=Lines, tags=["models"],
        openapi_extra=body_of(schemas.Drawing), **TOLD,
    )  # fmt: skip
    async def draw(request: Request, name: Name) -> Any:
        """Draw new pictures from the model's generator: a JSON object a line, each sent when its picture is drawn.

        Should drawing fail after the first picture, the last line is `{"problem": …}`.
        """
        asked = json_to(schemas.Drawing, await read_json(request), limits.values)
        return await drawn_lines(engine, gate, limits, name, asked, request.receive, trust=trust)

    @app.get("/v1/models/{name:path}", response_model=schemas.Model, tags=["models"], **TOLD)
    async def model(request: Request, name: Name) -> Any:
        """A model's record; where its source lies and how its generator is run is told to admins alone."""
        return model_to_told(await gate.run(engine.get, name), granted(request.scope))

    @app.put(
        "/v1/models/{name:path}", response_model=schemas.Model, tags=["models"],
        openapi_extra=body_of(schemas.Moments), **TOLD,
    )  # fmt: skip
    async def put_model(request: Request, name: Name) -> Any:
        """Add a model by its moments, or replace it: also one that came from a folder, a file or a generator."""
        model = await gate.run(_put, engine, limits, name, await read_json(request))
        return model_to_told(model, granted(request.scope))

    @app.patch(
        "/v1/models/{name:path}", response_model=schemas.Model, tags=["models"],
        openapi_extra=body_of(schemas.Details), **TOLD,
    )  # fmt: skip
    async def patch_model(request: Request, name: Name) -> Any:
        """Change a model's metadata."""
        text = await read_json(request)

        def update() -> Model:
            details = json_to(schemas.Details, text, limits.values)
            return engine.update(name, **details.model_dump(exclude_unset=True))

        return model_to_told(await gate.run(update), granted(request.scope))

    @app.delete("/v1/models/{name:path}", status_code=204, tags=["models"], **TOLD)
    async def delete_model(name: Name) -> Response:
        """Remove a model and all its data."""
        await gate.run(engine.remove, name)
        return Response(status_code=204)


MOMENTS = 2_200_000
"""Values in the JSON of moments: a mean and a covariance of 2 096 numbers."""


def _put(engine: Engine, limits: Limits, name: str, text: bytes) -> Model:
    moments = json_to(schemas.Moments, text, MOMENTS)
    encoder = check_encoder(engine, moments.encoder, may_be_new=True) or engine.default_encoder
    if len(moments.mean) > limits.dimension:
        raise Refused(
            422, "LimitExceeded", f"moments may have {limits.dimension} dimensions, got {len(moments.mean)}",
            hint="import them on the server itself: engine ingest --statistics",
        )  # fmt: skip
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        mean = np.array([moments.mean]).astype(np.float32)
        covariances = None if moments.covariance is None else np.array([moments.covariance]).astype(np.float32)
    engine.ingest_statistics(
        [name], mean, covariances, encoder=encoder, samples=moments.samples, tags=moments.tags, replace=True
    )
    try:
        return engine.get(name)
    except ModelNotFound as error:  # removed at once by somebody else
        raise Refused(409, "Gone", f"{name!r} was removed while it was written") from error
