"""What every response says to browsers; whom the server answers at all."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.server import create_app
from tests.server.conftest import LIMITS

PATHS = (
    "/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/reds", "/v1/nothing",
    "/nothing", "/login", "/explore", "/explore.json", "/mosaics/1/1", "/previews/1/1/0", "/previews/1/1/99",
    "/static/0/page.js", "/static/0/none", "/v1/models?limit=0",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_response_says_it(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "cache-control" in headers
    if headers.get("content-type", "").startswith("image/"):
        assert "sandbox" in headers["content-security-policy"]


def test_refusals_of_every_layer_say_it(own: Engine) -> None:
    client = TestClient(create_app(own, limits=LIMITS, hosts=frozenset({"testserver"})), raise_server_exceptions=False)
    for answer in (
        client.get("/v1/models"),
        client.get("/v1/models", headers={"host": "elsewhere"}),
        client.post("/login", content=b"k" * 10_000),
    ):
        assert answer.status_code in (401, 403, 413)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_faults_and_heads_say_it(own: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Engine, "get", broken)
    client = TestClient(create_app(own, limits=LIMITS, with_keys=False), raise_server_exceptions=False)
    fault = client.get("/v1/models/x")
    assert fault.status_code == 500
    for answer in (fault, client.get("/v1/encoders"), client.head("/openapi.json"), client.request("BREW", "/")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_document_may_be_asked_for_by_its_head(own: Engine) -> None:
    client = TestClient(create_app(own, limits=LIMITS), raise_server_exceptions=False)
    assert client.head("/openapi.json").status_code == 200


def test_the_reference_fetches_nothing(client: TestClient) -> None:
    text = client.get("/docs").text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert "/v1/models/{name}/samples" in text
    assert "a key with draw" in text


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
def test_without_keys_no_proxy_stands_between(own: Engine, name: str) -> None:
    app = create_app(own, limits=LIMITS, with_keys=False, direct=True)
    client = TestClient(app, raise_server_exceptions=False)
    refused = client.get("/v1/models", headers={name: "for=1.2.3.4"})
    assert refused.status_code == 403
    assert "--auth keys" in refused.json()["hint"]
    assert client.get("/v1/models").status_code == 200
    assert client.get("/healthz", headers={name: "x"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "answers"),
    [("zoo.example.org", True), ("ZOO.example.org:80", True), ("a.b.wild.org", True), ("wild.org", False),
     ("evilwild.org", False), ("zoo.example.org.evil.org", False), ("", False)],
)  # fmt: skip
def test_it_answers_for_its_own_names(own: Engine, host: str, answers: bool) -> None:
    hosts = frozenset({"zoo.example.org", "*.wild.org"})
    client = TestClient(create_app(own, limits=LIMITS, with_keys=False, hosts=hosts), raise_server_exceptions=False)
    assert (client.get("/v1/models", headers={"host": host}).status_code == 200) == answers
    assert client.get("/healthz", headers={"host": host}).status_code == 200
