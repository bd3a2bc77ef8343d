"""The application: routes over one open ``Engine``."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import anyio.to_thread
import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import UploadFile

from engine import Engine, __version__
from engine.distances import FRECHET
from engine.errors import EngineError, ModelNotFound
from engine.files import write_error
from engine.records import Model
from engine.server import problems, schemas
from engine.server.access import granted
from engine.server.addresses import Addresses, Name
from engine.server.bodies import Bodies, Held
from engine.server.callers import Callers, Guard
from engine.server.drawing import Lines, drawn_lines
from engine.server.encoders import check_encoder, encoder_to_told
from engine.server.gate import CALLER, Gate
from engine.server.headers import SecurityHeaders
from engine.server.jobs import Jobs
from engine.server.json_bodies import body_of, describe, json_to, parsed, read_json
from engine.server.large import LargePictures, heads_of
from engine.server.limits import Limits
from engine.server.memory import Returning
from engine.server.metrics import Measured, Metrics
from engine.server.origins import Origins
from engine.server.page import add_page, page_refusal
from engine.server.parameters import known_parameters
from engine.server.patience import Patience
from engine.server.problems import Refused
from engine.server.reference import add_reference
from engine.server.searching import FORM, answered, check_batch, request_to_parts
from engine.server.told import model_to_told
from engine.server.warming import Warming
from engine.shapes import hits_to_json
from engine.storage.keys import ADMIN

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
PAGE = 100
"""Models on a page, unless told."""
PAGING = ("sort", "limit", "cursor")
FILTER = Query(description="A comma means any of these; of several all must hold.")
UPLOADS = "/v1/ingest"
INGEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["details", "file"],
                    "properties": {
                        "details": {"type": "string", "description": "The JSON of an Ingest."},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
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


def create_app(
    engine: Engine,
    *,
    limits: Limits | None = None,
    with_keys: bool = True,
    with_page: bool = True,
    trust: bool = False,
    hosts: frozenset[str] | None = None,
    direct: bool = False,
    warming: Warming | None = None,
) -> FastAPI:
    """The API over an open collection, which the caller closes.

    Args:
        with_keys: whether callers must show an API key of the collection.
        with_page: whether the search page is served, too.
        trust: let generators run code when more is drawn from them, if they are trusted on this machine.
        hosts: names that requests may be for, without ports, ``*.example.org`` for all below one; None for any.
        direct: refuse what came through a proxy.
        warming: what must be prepared before ``/readyz`` says yes.
    """
    limits = limits or Limits()
    gate = Gate(limits)
    large = LargePictures(gate)
    metrics = Metrics(gate)
    callers = Callers(engine.keys if with_keys else None)

    held, returning = Held(limits), Returning()
    jobs = Jobs(engine, limits)

    @asynccontextmanager
    async def living(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(jobs.close)
        returning.close()

    app = FastAPI(
        title="engine", version=__version__, lifespan=living, docs_url=None, redoc_url=None,
        dependencies=[Depends(known_parameters)],
        description="Search generative models by what they draw.",
    )  # fmt: skip
    problems.install(app, engine.places)

    app.add_middleware(Patience, seconds=limits.statement_seconds)
    app.add_middleware(Bodies, limits=limits, held=held, returning=returning)
    app.add_middleware(Guard, routes=app.routes, callers=callers, limits=limits, on_page=page_refusal)
    app.add_middleware(Origins, hosts=hosts, direct=direct)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Addresses)  # before whatever looks at a path: it sees the routes' own
    app.add_middleware(SecurityHeaders)

    told: dict[str, Any] = {"responses": PROBLEMS}

    # --- searching

    @app.post("/v1/search", response_model=schemas.Answer, tags=["search"], openapi_extra=SEARCH_BODY, **told)
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
        **told,
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

    # --- models

    @app.get("/v1/models", response_model=schemas.Page, tags=["models"], **told)
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

    @app.get("/v1/models/{name:path}/similar", response_model=schemas.Answer, tags=["models"], **told)
    async def similar(
        name: Name, k: Annotated[int, Query(ge=1)] = 10, distance: str = FRECHET.name, encoder: str | None = None
    ) -> Any:
        """Models whose samples are distributed like this one's."""
        if k > limits.k:
            raise Refused(422, "LimitExceeded", f"k may be {limits.k}, got {k}")
        encoder = await gate.run(check_encoder, engine, encoder)
        return hits_to_json(await gate.run(engine.similar, name, k, distance=distance, encoder=encoder))

    @app.get("/v1/models/{name:path}/samples", response_model=schemas.Samples, tags=["models"], **told)
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
        openapi_extra=body_of(schemas.Drawing), **told,
    )  # fmt: skip
    async def draw(request: Request, name: Name) -> Any:
        """Draw new pictures from the model's generator: a JSON object a line, each sent when its picture is drawn.

        Should drawing fail after the first picture, the last line is `{"problem": …}`.
        """
        asked = json_to(schemas.Drawing, await read_json(request), limits.values)
        return await drawn_lines(engine, gate, limits, name, asked, request.receive, trust=trust)

    @app.get("/v1/models/{name:path}", response_model=schemas.Model, tags=["models"], **told)
    async def model(request: Request, name: Name) -> Any:
        """A model's record; where its source lies and how its generator is run is told to admins alone."""
        return model_to_told(await gate.run(engine.get, name), granted(request.scope))

    @app.put(
        "/v1/models/{name:path}", response_model=schemas.Model, tags=["models"],
        openapi_extra=body_of(schemas.Moments), **told,
    )  # fmt: skip
    async def put_model(request: Request, name: Name) -> Any:
        """Add a model by its moments, or replace it: also one that came from a folder, a file or a generator."""
        model = await gate.run(_put, engine, limits, name, await read_json(request))
        return model_to_told(model, granted(request.scope))

    @app.patch(
        "/v1/models/{name:path}", response_model=schemas.Model, tags=["models"],
        openapi_extra=body_of(schemas.Details), **told,
    )  # fmt: skip
    async def patch_model(request: Request, name: Name) -> Any:
        """Change a model's metadata."""
        text = await read_json(request)

        def update() -> Model:
            details = json_to(schemas.Details, text, limits.values)
            return engine.update(name, **details.model_dump(exclude_unset=True))

        return model_to_told(await gate.run(update), granted(request.scope))

    @app.delete("/v1/models/{name:path}", status_code=204, tags=["models"], **told)
    async def delete_model(name: Name) -> Response:
        """Remove a model and all its data."""
        await gate.run(engine.remove, name)
        return Response(status_code=204)

    # --- taking models in

    @app.post(UPLOADS, response_model=schemas.Job, status_code=202, tags=["ingest"], openapi_extra=INGEST_BODY, **told)
    async def ingest(request: Request) -> Any:
        """Upload a model's samples: pictures in a .zip or .tar, or a .npy or .npz of features or moments.

        It is ingested beside the searches; the answer is the job to ask for progress.
        """
        try:
            with held.upload(CALLER.get()):
                await request.form(max_files=1, max_fields=4)
            async with request.form() as form:  # what has come is kept with the request
                details, file = form.get("details"), form.get("file")
                if not isinstance(details, str) or not isinstance(file, UploadFile):
                    raise Refused(422, "InvalidRequest", "a form has details, as JSON text, and file, an upload")
                said = json_to(schemas.Ingest, details, limits.values)
                said.encoder = await gate.run(check_encoder, engine, said.encoder, may_be_new=True)
                job = await gate.run(jobs.submit, said, file.filename or "", file.file)
        except OSError as error:  # the form's own files
            raise write_error("the upload cannot be kept", error, hint="make room on the server") from error
        return JSONResponse(
            jsonable_encoder(job.to_json()), 202, {"Location": f"{UPLOADS}/{job.id}"}
        )  # fmt: skip

    @app.get(UPLOADS, response_model=schemas.JobList, tags=["ingest"], **told)
    async def list_jobs() -> Any:
        """Uploads that wait or run, and those that ended lately."""
        return {"jobs": [job.to_json() for job in jobs.all()]}

    @app.get(UPLOADS + "/{job_id}", response_model=schemas.Job, tags=["ingest"], **told)
    async def job_progress(job_id: str) -> Any:
        """How far an upload is."""
        return jobs.get(job_id).to_json()

    @app.delete(
        UPLOADS + "/{job_id}", response_model=schemas.Job, tags=["ingest"],
        responses={**PROBLEMS, 204: {"description": "It had ended, and is forgotten."}},
    )  # fmt: skip
    async def cancel_job(job_id: str) -> Any:
        """Cancel an upload: nothing of it is written. One that has ended is forgotten."""
        job = await gate.run(jobs.cancel, job_id)
        return Response(status_code=204) if job is None else job.to_json()

    # --- the collection and the server

    @app.get("/v1/encoders", response_model=schemas.Encoders, tags=["collection"], **told)
    async def encoders(request: Request) -> Any:
        """Encoders whose statistics the collection holds."""
        found = await gate.run(engine.encoders)
        whole = ADMIN in granted(request.scope)
        return {
            "encoders": [
                {
                    "name": one.name if whole else encoder_to_told(one.name),
                    "fingerprint": one.fingerprint, "dimension": one.dimension,
                    "modalities": sorted(one.modalities), "default": one.name == engine.default_encoder,
                }
                for one in found
            ]
        }  # fmt: skip

    @app.get("/healthz", response_class=PlainTextResponse, tags=["server"])
    async def healthz() -> str:
        """Whether the process answers."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse, tags=["server"], responses={503: PROBLEMS[503]})
    async def readyz() -> str:
        """Whether the server is prepared and the database answers."""
        progress = None if warming is None else warming.progress
        if progress is not None:
            raise Refused(503, "NotReady", f"preparing {progress}", retry_after=1)
        try:
            await gate.aside(engine.encoders)
        except EngineError as error:
            raise Refused(503, type(error).__name__, "the database does not answer", retry_after=1) from error
        return "ready\n"

    @app.get("/metrics", response_class=PlainTextResponse, tags=["server"], **told)
    async def show_metrics() -> Response:
        """Counters, in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    describe(app, [schemas.Query, schemas.Batch, schemas.Moments, schemas.Details, schemas.Drawing, schemas.Ingest])
    add_reference(app)
    if with_page:
        add_page(app, engine, gate=gate, large=large, callers=callers, limits=limits, metrics=metrics, may_draw=trust)
    return app


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
