"""The application: routes over one open ``Engine``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI

from engine import Engine, __version__
from engine.server import problems, schemas
from engine.server.addresses import Addresses
from engine.server.bodies import Bodies, Held
from engine.server.callers import Callers, Guard
from engine.server.gate import Gate
from engine.server.headers import SecurityHeaders
from engine.server.jobs import Jobs
from engine.server.json_bodies import describe
from engine.server.large import LargePictures
from engine.server.limits import Limits
from engine.server.memory import Returning
from engine.server.metrics import Measured, Metrics
from engine.server.origins import Origins
from engine.server.page import add_page, page_refusal
from engine.server.parameters import known_parameters
from engine.server.patience import Patience
from engine.server.reference import add_reference
from engine.server.routes.collection import add_collection
from engine.server.routes.models import add_models
from engine.server.routes.search import add_search
from engine.server.routes.uploads import add_uploads
from engine.server.served import Served
from engine.server.warming import Warming


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

    served = Served(engine, limits, gate, large, metrics, held, jobs, trust, warming)
    for add in (add_search, add_models, add_uploads, add_collection):
        add(app, served)
    describe(app, [schemas.Query, schemas.Batch, schemas.Moments, schemas.Details, schemas.Drawing, schemas.Ingest])
    add_reference(app)
    if with_page:
        add_page(app, engine, gate=gate, large=large, callers=callers, limits=limits, metrics=metrics, may_draw=trust)
    return app
