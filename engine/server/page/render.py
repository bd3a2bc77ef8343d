"""Templates to answers, with what browsers are told about them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from engine.server.addresses import name_to_address
from engine.server.page.query_url import Asked, to_chip
from engine.server.sessions import signed_in

HERE = Path(__file__).parent
STATIC = HERE / "static"
COLOURS = 8
"""Colours that kinds are marked with."""
_seen: dict[str, int] = {}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page(template: str, *, status: int = 200, headers: dict[str, str] | None = None, **context: Any) -> HTMLResponse:
    """A template, filled."""
    body = _environment().get_template(template).render(**context)
    return HTMLResponse(body, status, {**HEADERS, **(headers or {})})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape(default=True),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(colour=kind_to_colour, shown=score_to_text, link=web_address, path=path_of)
    environment.globals.update(static=static_url, address=address, filtered=filtered, signed_in=signed_in.get)
    return environment


def kind_to_colour(kind: str) -> int:
    """Which of the colours marks a kind: the first kinds that are shown have one each, and keep it."""
    return _seen.setdefault(kind, len(_seen) if len(_seen) < COLOURS else hash(kind) % COLOURS)


def score_to_text(score: float) -> str:
    """A score in four figures."""
    return f"{score:,.1f}" if abs(score) >= 1000 else f"{score:.4g}"


def web_address(text: str) -> str | None:
    """A link that may be followed, or None: what is stored of a model may be anything."""
    try:
        return text if urlsplit(text).scheme in ("http", "https") else None
    except ValueError:
        return None


def path_of(name: str) -> str:
    """The address of a model's page."""
    return name_to_address(name, "")


def address(path: str, **query: Any) -> str:
    """A path with a query; what is None is left out."""
    pairs = [(key, value) for key, value in query.items() if value is not None]
    return f"{path}{'&' if '?' in path else '?'}{urlencode(pairs, doseq=True)}" if pairs else path


def filtered(key: str, value: str) -> str:
    """The address of the models that have a value."""
    return Asked(chips=(to_chip(key, value),)).url()


@cache
def static_url(name: str) -> str:
    """The address of a file of ours, which changes when the file does."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{digest}/{name}"
