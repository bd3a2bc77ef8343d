"""Addresses of models, whatever they are called.

A name is one part of a path, percent-encoded: ``/v1/models/a%2Fsamples`` is the model ``a/samples``, and
``/v1/models/a/samples`` the samples of ``a``. Slashes that are not encoded are part of the name as well, unless what
follows the last one is a route's own word. Clients and proxies resolve ``.`` and ``..``, encoded or not, and some
decode slashes: a name in the query, ``/v1/model/samples?name=..``, is left alone by all of them.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server.problems import answer
from engine.texts import quoted

WORDS = ("samples", "similar")
"""What may follow a name in a path of the API."""
BY_PATH = {b"/v1/models/": WORDS, b"/models/": ()}
BY_QUERY = {
    "/v1/model": "/v1/models/{}",
    **{f"/v1/model/{word}": f"/v1/models/{{}}/{word}" for word in WORDS},
    "/model": "/models/{}",
}


def _decoded(name: str) -> str:
    return unquote_to_bytes(name).decode()


Name = Annotated[str, AfterValidator(_decoded)]
"""A model's name in a route's path, where it is one part, encoded, however it was sent."""


def name_to_address(name: str, start: str = "/v1", word: str = "") -> str:
    """An address that every client and proxy sends as it is: a path for plain names, else one with a query.

    Raises:
        UnicodeEncodeError: the name has a lone surrogate.
    """
    encoded = quote(name, safe="")
    rest = f"/{word}" if word else ""
    if name.strip(".") and "%2F" not in encoded and "%5C" not in encoded:
        return f"{start}/models/{encoded}{rest}"
    return f"{start}/model{rest}?name={encoded}"


class Addresses:
    """Rewrites every address of a model to one that routes tell apart: the name is encoded, slashes included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, under the address that routes know, or refuse it."""
        if scope["type"] == "http":
            try:
                scope = _rewritten(scope)
            except ValueError as error:
                refusal = answer(422, "InvalidRequest", str(error), hint="see /docs for what is expected")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _rewritten(scope: Scope) -> Scope:
    """A request's scope, its path rewritten.

    Raises:
        ValueError: the name is not UTF-8, or the query does not have one.
    """
    template = BY_QUERY.get(scope["path"])
    if template is not None:
        return _by_query(scope, template)
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    raw = raw.partition(b"?")[0]
    for start, words in BY_PATH.items():
        if raw.startswith(start):
            given, slash, word = raw.removeprefix(start).rpartition(b"/")
            if not slash or word.decode("latin-1") not in words:
                given, word = raw.removeprefix(start), b""
            path = start.decode() + quote(_utf8(unquote_to_bytes(given)), safe="")
            return {**scope, "path": f"{path}/{word.decode()}" if word else path}
    return scope


def _by_query(scope: Scope, template: str) -> Scope:
    parts: list[bytes] = [part for part in scope["query_string"].split(b"&") if part]
    names = [part for part in parts if part.partition(b"=")[0] == b"name"]
    if len(names) != 1:
        raise ValueError(f"{scope['path']} takes one name, as in {scope['path']}?name=…, got {len(names)}")
    name = unquote_to_bytes(names[0].partition(b"=")[2].replace(b"+", b" "))
    others = b"&".join(part for part in parts if part is not names[0])
    return {**scope, "path": template.format(quote(_utf8(name), safe="")), "query_string": others}


def _utf8(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"a model's name in an address is UTF-8, percent-encoded, got {quoted(name, 80)}") from error
