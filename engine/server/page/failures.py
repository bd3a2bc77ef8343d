"""Errors as people read them, and where who shows no key is sent."""

from __future__ import annotations

from urllib.parse import quote, unquote

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from engine.errors import printable
from engine.server.addresses import name_to_address
from engine.server.page.render import page
from engine.server.problems import Refused


def show_errors(app: FastAPI) -> None:
    """Whoever follows a wrong link with a browser reads a page; programs read a problem, as everywhere."""
    as_problem = app.exception_handlers[HTTPException]

    @app.exception_handler(HTTPException)
    async def shown(request: Request, error: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/"):
            return failed(error.status_code, "HttpError", f"{request.url.path}: {error.detail}", None)
        answer: Response = await as_problem(request, error)  # type: ignore[misc]
        return answer


def failed(status: int, name: str, detail: str, hint: str | None) -> Response:
    """An error as people read it."""
    return page(
        "error.html", status=status, code=status, name=name, detail=printable(detail),
        hint=None if hint is None else printable(hint),
    )  # fmt: skip


def page_refusal(request: Request, error: Refused) -> Response:
    """A refusal as people read it: whoever shows no key is sent to sign in."""
    return _to_login(request) if error.status == 401 else failed(error.status, error.name, error.detail, error.hint)


def _to_login(request: Request) -> Response:
    if request.method != "GET":
        return failed(401, "Unauthorized", "this needs an API key", "sign in first")
    path: str = request.scope["path"]
    name = path.removeprefix("/models/")
    if name != path:  # which is encoded here, and may be one that browsers would resolve
        path = name_to_address(unquote(name), start="")
    query = request.url.query
    after = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
    return RedirectResponse(f"/login?after={quote(after, safe='')}", 303)


def local_address(after: str) -> str:
    """An address on this server: a link elsewhere could pass itself off as ours."""
    return after if after.startswith("/") and not after.startswith(("//", "/\\")) else "/"
