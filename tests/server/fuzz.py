"""Hostile requests to every route of the server, the page's included: paths, queries, headers, forms, members of JSON.

    python -m tests.server.fuzz --minutes 20                                # a server of its own
    python -m tests.server.fuzz --minutes 20 --url http://host:8000 --key ek_…

Requests are written as bytes to a socket, for clients refuse to send most of them. No answer may be an untyped 500,
take long, or be large for an error; the API's refusals are problems.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import uvicorn
from fastapi.routing import APIRoute

from engine import Engine, errors
from engine.server import Limits, create_app
from tests.server.hostile_values import BODIES, HEADERS, JSON, TEXTS

SLOWEST = 20.0
"""Seconds that an answer may take on a busy machine."""
LARGEST = 100_000
"""Bytes of a refusal."""
MEMBERS = [
    "k",
    "offset",
    "where",
    "weights",
    "vector",
    "method",
    "shortlist",
    "recall",
    "transform",
    "encoder",
    "text",
    "image",
    "sketch",
    "model",
    "metadata",
    "links",
    "tags",
    "name",
    "resolution",
    "samples",
    "covariance",
    "count",
    "seed",
    "modality",
    "tempered",
    "queries",
    "shortlist_space",
    "author",
    "mean",
]
METHODS = [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"NONSENSE"]


@dataclass(frozen=True)
class Target:
    """A route: its path with places for parameters, its methods, its query's parameters and its body's members."""

    path: str
    methods: tuple[str, ...]
    parameters: tuple[str, ...]
    examples: tuple[dict[str, Any], ...]
    is_api: bool


def app_to_targets(app: Any) -> list[Target]:
    """Every route, documented or not."""
    schemas = app.openapi()["components"]["schemas"]
    found = []
    for route in app.routes:
        methods = tuple(sorted(getattr(route, "methods", None) or ()))
        if not methods:
            continue
        parameters: tuple[str, ...] = ()
        examples: tuple[dict[str, Any], ...] = ()
        if isinstance(route, APIRoute):
            parameters = tuple(field.alias for field in route.dependant.query_params)
            for field in route.dependant.body_params:
                examples += tuple(schemas.get(field.field_info.annotation.__name__, {}).get("examples", ()))
            if route.path == "/v1/search":
                examples += tuple(schemas["Query"]["examples"])
        found.append(Target(route.path, methods, parameters, examples, getattr(route, "include_in_schema", False)))
    methods = ("GET", "PUT", "PATCH", "POST", "DELETE")
    found += [Target(f"/v1/model{word}", methods, ("name", "k"), (), True) for word in ("", "/samples", "/similar")]
    found.append(Target("/model", ("GET",), ("name",), (), False))
    return found


class Fuzzer:
    """Sends hostile requests, decided by a seed."""

    def __init__(self, host: str, port: int, targets: list[Target], *, key: str | None = None, seed: int = 0) -> None:
        self._host, self._port, self._key = host, port, key
        self._targets = targets
        self._random = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []

    def run(self, seconds: float) -> None:
        """Ask for so long; what is found is in ``faults``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and len(self.faults) < 50:
            self.one()

    def one(self) -> None:
        """One request and its answer."""
        target = self._random.choice(self._targets)
        request, method = self._request(target)
        started = time.monotonic()
        try:
            with socket.create_connection((self._host, self._port), timeout=SLOWEST) as connection:
                connection.sendall(request)
                answer = HTTPResponse(connection, method=method.decode())
                answer.begin()
                body = answer.read()
        except (ConnectionError, HTTPException):  # it hung up on what is no HTTP: its good right
            self.statuses[0] += 1
            return
        except TimeoutError:
            self._fault(f"no answer in {SLOWEST} s", request)
            return
        self.statuses[answer.status] += 1
        kind = answer.headers.get("content-type", "")
        is_api = target.is_api and b" /v1/" in request[:20]  # the path may have been lengthened
        wrong = self._judge(is_api, method, answer.status, kind, body)
        if time.monotonic() - started > SLOWEST:
            wrong = f"{time.monotonic() - started:.1f} s"
        if wrong:
            self._fault(f"{method.decode()} {target.path}: {answer.status} {wrong}: {body[:300]!r}", request)

    def _judge(self, is_api: bool, method: bytes, status: int, kind: str, body: bytes) -> str | None:
        if status < 400:
            return None
        if len(body) > LARGEST:
            return f"{len(body)} bytes"
        if status == 400 and kind.startswith("text/plain"):  # not HTTP, says the HTTP server
            return None
        problem = json.loads(body) if kind == "application/problem+json" and body else {}
        if status >= 500 and not (status == 503 and hasattr(errors, str(problem.get("title")))):
            return "is no typed 503"
        if is_api and method != b"HEAD" and not {"type", "title", "status", "detail"} <= problem.keys():
            return f"{kind} is no problem"
        return None

    def _fault(self, said: str, request: bytes) -> None:
        shown = request if len(request) < 3000 else request[:1500] + b" ... " + request[-1000:]
        self.faults.append(f"{said}\n    {shown!r}")

    # --- what is sent

    def _request(self, target: Target) -> tuple[bytes, bytes]:
        choose = self._random.random
        method = self._random.choice(target.methods).encode() if choose() < 0.95 else self._random.choice(METHODS)
        path = self._path(target.path)
        query = self._query(target)
        body, headers = self._body(target, method)
        given = dict(headers)
        given.setdefault(b"Host", b"localhost")
        given[b"Connection"] = b"close"
        if self._key is not None:
            given[b"Authorization"] = b"Bearer " + self._key.encode()
        if choose() < 0.4:
            for name, values in self._random.sample(HEADERS, self._random.randint(1, 3)):
                given[name] = self._random.choice(values)
        if body or method in (b"POST", b"PUT", b"PATCH"):
            given[b"Content-Length"] = str(len(body)).encode()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in given.items())
        address = path + (b"?" + query if query else b"")
        return method + b" " + address + b" HTTP/1.1\r\n" + lines + b"\r\n" + body, method

    def _text(self) -> bytes:
        """A value as it stands in an address: encoded, or once in a while as it is."""
        value = self._random.choice(TEXTS)
        if self._random.random() < 0.9:
            return quote(value, safe="").encode()
        return value.translate(None, b" \r\n\0")

    def _path(self, template: str) -> bytes:
        parts = []
        for part in template.split("/"):
            filled = part.startswith("{")
            usual = self._random.choice([b"fox", b"owl", b"1", b"2"]) if self._random.random() < 0.4 else self._text()
            parts.append(usual if filled else part.encode())
        if self._random.random() < 0.03:
            parts.insert(self._random.randrange(len(parts) + 1), self._text())
        return b"/".join(parts) or b"/"

    def _query(self, target: Target) -> bytes:
        if self._random.random() < 0.3:
            return b""
        keys = [key.encode() for key in target.parameters]
        if not target.is_api:
            keys += [b"q", b"image", b"sketch", b"model", b"w.text", b"w.image", b"method", b"n", b"after"]
        if target.path == "/v1/models":
            keys += [b"meta.a", b"name~", b"tag!", b"-author", b"title"]
        if not keys or self._random.random() < 0.1:
            keys.append(self._text())
        pairs = [quote(self._random.choice(keys), safe="%").encode() + b"=" + self._text()
                 for _ in range(self._random.randint(1, 3))]  # fmt: skip
        return b"&".join(pairs) if self._random.random() < 0.95 else b"%ff=%00&;;&=&&" + self._text()

    def _body(self, target: Target, method: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        if method in (b"GET", b"HEAD", b"DELETE") and self._random.random() < 0.9:
            return b"", []
        if target.examples and self._random.random() < 0.8:
            return self._json(self._random.choice(target.examples)), [(b"Content-Type", b"application/json")]
        body = self._random.choice(BODIES)
        kind = b"multipart/form-data; boundary=x" if body.startswith(b"--x") else b"application/json"
        if body.startswith((b"key", b"a=", b"after")):
            kind = b"application/x-www-form-urlencoded"
        return body, [(b"Content-Type", kind)]

    def _json(self, example: dict[str, Any]) -> bytes:
        """An example, some of whose members are something else."""
        members = {key: json.dumps(value).encode() for key, value in example.items()}
        more = [*members, *MEMBERS]
        if self._random.random() < 0.7:  # one that is known there
            more = [*members]
        for _ in range(self._random.randint(1, 2)):
            members[self._random.choice(more)] = self._random.choice(JSON)
        return b"{" + b", ".join(json.dumps(key).encode() + b": " + value for key, value in members.items()) + b"}"


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, Any]]:
    """The port of a server of this process over a small collection, and its application."""
    rng = np.random.default_rng(0)
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="external:mine") as engine:
        spread = np.tile(np.eye(3, dtype=np.float32) / 9, (8, 1, 1))
        names = ["fox", "owl", "a/samples", "..", *(f"m{i}" for i in range(4))]
        engine.ingest_statistics(
            names, rng.normal(size=(8, 3)), spread, encoder="external:mine", samples=9, tags=["a", "b"]
        )  # fmt: skip
        engine.update("owl", metadata={"a": "b"}, links={"a": "http://a"}, author="Ada")
        app = create_app(engine, limits=Limits(body_bytes=2**20, upload_bytes=2**20), with_keys=False)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield server.servers[0].sockets[0].getsockname()[1], app
        finally:
            server.should_exit = True
            thread.join()


def main() -> int:
    """Fuzz from the command line; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--url")
    parser.add_argument("--key")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (port, app):
        host = "127.0.0.1"
        if asked.url:
            host, port = urlsplit(asked.url).hostname or host, urlsplit(asked.url).port or 80
        fuzzer = Fuzzer(host, port, app_to_targets(app), key=asked.key, seed=asked.seed)
        fuzzer.run(60 * asked.minutes)
    print(*fuzzer.faults, sep="\n")
    print(f"{sum(fuzzer.statuses.values())} requests, {len(fuzzer.faults)} faults; by status {dict(fuzzer.statuses)}")
    return 1 if fuzzer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
