"""Who may call what: every route with every kind of key; keys before bodies; floods of wrong keys."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from starlette.routing import Route

from benchmarks.load import served
from engine import Engine
from engine.server import create_app
from engine.server.access import RULES
from engine.storage.keys import SCOPES
from tests.server.conftest import LIMITS

ROOT = Path(__file__).resolve().parents[2]
FILLED = {
    "{name:path}": "a", "{job_id}": "none", "{name}": "none", "{model_id}": "1", "{version}": "1", "{position}": "0",
    "{digest}": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("access")
    with Engine.open(f"sqlite:///{folder / 'own.db'}", create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["a", "b"], np.eye(2), encoder="external:mine", samples=5)
        yield engine


@pytest.fixture(scope="module")
def tokens(collection: Engine) -> dict[str, str]:
    """A key a scope, one that was revoked, and words that are none."""
    found = {scope: collection.keys.create(scope, [scope])[1] for scope in SCOPES}
    revoked, found["revoked"] = collection.keys.create("revoked", SCOPES)
    collection.keys.revoke(revoked.id)
    return {**found, "wrong": f"{found['admin']}x", "nonsense": "ek_", "none": ""}


@pytest.fixture(scope="module")
def asked(collection: Engine) -> Iterator[TestClient]:
    app = create_app(collection, limits=LIMITS)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def test_the_table_has_every_route(asked: TestClient) -> None:
    routes = {
        (method, route.path)
        for route in asked.app.routes  # type: ignore[attr-defined]
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert routes == set(RULES)


def test_the_docs_show_the_table() -> None:
    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (`[A-Z]+` `[^`]+`) \| (\w+|—) \|$", text, re.MULTILINE)
    expected = [(f"`{m}` `{p.replace(':path', '')}`", rule.scope or "—") for (m, p), rule in RULES.items()]
    assert shown == expected


@pytest.mark.parametrize("kind", [*SCOPES, "revoked", "wrong", "nonsense", "none"])
def test_every_route_with_every_key(asked: TestClient, tokens: dict[str, str], kind: str) -> None:
    headers = {"Authorization": f"Bearer {tokens[kind]}"} if tokens[kind] else {}
    for (method, template), rule in RULES.items():
        path = template
        for name, value in FILLED.items():
            path = path.replace(name, value)
        if method == "DELETE" and "models" in path:
            path = "/v1/models/nobody"
        status = asked.request(method, path, headers=headers).status_code
        if path == "/login":
            continue  # what it is sent decides
        if rule.scope is None or kind in (rule.scope, "admin"):
            assert status not in (401, 403), (method, path, status)
        elif kind in SCOPES:
            assert status == 403, (method, path, status)
        else:
            assert status == (303 if rule.page and method == "GET" else 401), (method, path, status)


def test_what_no_route_takes_is_told_to_readers_alone(asked: TestClient, tokens: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/nothing"), ("BREW", "/v1/models"), ("POST", "/v1/encoders")):
        assert asked.request(method, path).status_code == 401
        read = asked.request(method, path, headers={"Authorization": f"Bearer {tokens['read']}"})
        assert read.status_code in (404, 405)


def test_a_writer_is_told_no_more_than_it_wrote(asked: TestClient, tokens: dict[str, str], collection: Engine) -> None:
    collection.update("b", author="Ada", metadata={"private": 1})
    headers = {"Authorization": f"Bearer {tokens['write']}"}
    said = asked.patch("/v1/models/b", json={"kind": "gan"}, headers=headers).json()
    assert (said["name"], said["kind"]) == ("b", "gan")
    assert (said["author"], said["metadata"], said["source"]) == (None, {}, {})


def test_a_new_key_works_at_once(asked: TestClient, collection: Engine) -> None:
    time.sleep(1.0)
    key, token = collection.keys.create("late", ["read"])
    assert asked.get("/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    collection.keys.revoke(key.id)


FLOOD = """
import http.client, os, sys, threading, time
os.nice(15)
until, asked = time.time() + float(sys.argv[2]), []
def flood(number):
    connection = http.client.HTTPConnection(sys.argv[1], timeout=30)
    while time.time() < until:
        key = f"ek_{number:04x}{len(asked) % 65536:04x}_{'x' * 43}"
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        asked.append(answer.status)
threads = [threading.Thread(target=flood, args=(number,)) for number in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(asked), *sorted(set(asked)))
"""


def test_a_flood_of_wrong_keys_keeps_right_ones_quick(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["a"], np.ones((1, 2)), encoder="external:mine", samples=5)
        _, token = engine.keys.create("reader", ["read"])
    with served(url, "--auth", "keys") as address:
        command = [sys.executable, "-c", FLOOD, address.partition("//")[2], "4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
            waited = []
            with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
                while flood.poll() is None:
                    began = time.monotonic()
                    assert client.get(f"{address}/v1/models/a").status_code == 200
                    waited.append(time.monotonic() - began)
            assert flood.stdout is not None
            count, *statuses = flood.stdout.read().split()
    assert statuses == ["401"]
    assert int(count) > 500
    assert sorted(waited)[int(0.95 * len(waited))] < 2, waited
