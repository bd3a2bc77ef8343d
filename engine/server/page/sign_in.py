"""Signing in and out with an API key."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from engine.server.callers import Callers, session_token
from engine.server.page.failures import local_address
from engine.server.page.render import page
from engine.server.sessions import COOKIE, LONGEST, SECURE_COOKIE
from engine.storage.keys import READ


def add_sign_in(app: FastAPI, callers: Callers) -> None:
    """Add the routes by which a browser begins and ends a session."""

    @app.get("/login", include_in_schema=False)
    async def login(request: Request, after: str = "/") -> Response:
        """Where a browser shows its key."""
        return page("login.html", after=local_address(after), wrong=False)

    @app.post("/login", include_in_schema=False)
    async def signed_in(request: Request) -> Response:
        """Begin a session: its token is in a cookie that scripts cannot read and other sites cannot send."""
        async with request.form(max_files=0, max_fields=2) as form:
            token, after = str(form.get("key", "")).strip(), local_address(str(form.get("after", "/")))
        key = await callers.key_of(token)
        if callers.are_asked and (key is None or not key.may(READ)):
            return page("login.html", status=401, after=after, wrong=True)
        answer = RedirectResponse(after, 303)
        if key is not None:
            secure = "https" in (request.url.scheme, request.headers.get("origin", "").partition(":")[0])
            answer.set_cookie(
                SECURE_COOKIE if secure else COOKIE, callers.sessions.begin(key.id), httponly=True, samesite="strict",
                secure=secure, max_age=int(LONGEST),
            )  # fmt: skip
        return answer

    @app.post("/logout", include_in_schema=False)
    async def signed_out(request: Request) -> Response:
        """End the browser's session."""
        token = session_token(request)
        if token is not None:
            callers.sessions.end(token)
        answer = RedirectResponse("/login", 303)
        for name in (COOKIE, SECURE_COOKIE):
            answer.delete_cookie(name, secure=name == SECURE_COOKIE, httponly=True, samesite="strict")
        return answer
