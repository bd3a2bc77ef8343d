"""The collection's encoders, and the server itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from engine.errors import EngineError
from engine.server import schemas
from engine.server.access import granted
from engine.server.encoders import encoder_to_told
from engine.server.problems import Refused
from engine.server.routes.problems import PROBLEMS, TOLD
from engine.server.served import Served
from engine.storage.keys import ADMIN


def add_collection(app: FastAPI, served: Served) -> None:
    """The collection's encoders, and the server itself."""
    engine, gate, metrics, warming = served.engine, served.gate, served.metrics, served.warming

    @app.get("/v1/encoders", response_model=schemas.Encoders, tags=["collection"], **TOLD)
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

    @app.get("/metrics", response_class=PlainTextResponse, tags=["server"], **TOLD)
    async def show_metrics() -> Response:
        """Counters, in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
