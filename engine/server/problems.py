"""The one shape of errors: RFC 9457 problem details, made from the engine's own error tree."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from engine import errors
from engine.errors import EngineError, printable
from engine.server.access import granted
from engine.server.headers import completed
from engine.server.places import told
from engine.storage.keys import ADMIN
from engine.texts import quoted

log = logging.getLogger("engine.server")
MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[EngineError], int] = {
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IngestError: 422,
    errors.GeneratorError: 500,
    errors.NotTrusted: 403,
    errors.MissingStatistics: 409,
    errors.MissingWeights: 503,
    errors.MissingDependency: 503,
    errors.DatabaseLocked: 503,
    errors.DatabaseNotFound: 503,
    errors.DiskFull: 507,
    errors.StorageError: 503,
    errors.CorruptData: 500,
    errors.StatementTimeout: 503,
    errors.Cancelled: 499,
    EngineError: 500,
}
"""Of a class and of those below it that are not listed themselves."""


class Refused(Exception):
    """A request that this server does not take, whatever the engine would say: 401, 403, 413, 415, 422 or 429."""

    def __init__(self, status: int, name: str, detail: str, *, hint: str | None = None, retry_after: int = 0) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail, self.hint, self.retry_after = status, name, detail, hint, retry_after


def error_to_status(error: EngineError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def noted(error: EngineError) -> int:
    """The HTTP status of an error, which is logged if it is the server's, or if its caller is not told all of it."""
    status = error_to_status(error)
    if status >= 500 or told(error)[0] != error.message:
        log.error("%s: %s", type(error).__name__, error.message)
    return status


def error_to_problem(error: EngineError, *, whole: bool = False, roots: Sequence[str] = ()) -> dict[str, Any]:
    """An error as a problem's members, without the server's paths unless ``whole``; ``roots`` as of ``places``."""
    message, hint = (error.message, error.hint) if whole else told(error, roots)
    return problem(error_to_status(error), type(error).__name__, message, hint=hint)


def problem(
    status: int, name: str, detail: str, *, hint: str | None = None, extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A problem's members: the standard ones, ``hint``, the next step, and ``extra``."""
    kind = f"urn:engine:problem:{name}"
    found: dict[str, Any] = {"type": kind, "title": name, "status": status, "detail": printable(detail)}
    if hint is not None:
        found["hint"] = printable(hint)
    return found | (extra or {})


def answer(status: int, name: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem as a response."""
    return JSONResponse(problem(status, name, detail, **more), status, headers, MEDIA_TYPE)


def refusal(error: Refused) -> JSONResponse:
    """A refusal as a response."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(error.status, error.name, error.detail, hint=error.hint, headers=headers)


def _place(part: object) -> str:
    """A member's name or a place in a list, which stand in the request."""
    return quoted(part, 100, plain=True)


def install(app: FastAPI, roots: Sequence[str] = ()) -> None:
    """Turn whatever a route raises into a problem; ``roots`` as of ``places``."""

    @app.exception_handler(EngineError)
    async def of_engine(request: Request, error: EngineError) -> JSONResponse:
        status = noted(error)
        headers = {"Retry-After": "1"} if status == 503 else None
        said = error_to_problem(error, whole=ADMIN in granted(request.scope), roots=roots)
        return JSONResponse(said, status, headers, MEDIA_TYPE)

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        where = [
            {"at": printable(".".join(map(_place, one["loc"]))), "message": printable(str(one["msg"]))}
            for one in error.errors()[:20]
        ]
        detail = "; ".join(": ".join(filter(None, one.values())) for one in where[:3])
        return answer(422, "InvalidRequest", detail, hint="see /docs for what is expected", extra={"errors": where})

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}"
        headers = dict(error.headers) if error.headers else None
        return answer(error.status_code, "HttpError", detail, hint="see /docs for what there is", headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        return answer(400, "ClientDisconnected", "the client has gone")  # nobody reads it

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, error: Exception) -> JSONResponse:
        log.exception("unexpected %s", type(error).__name__, exc_info=error)
        found = answer(500, "Unexpected", f"unexpected {type(error).__name__}", hint="the server's log says more")
        completed(found.headers)  # it is sent past the middleware
        return found
