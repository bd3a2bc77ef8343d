"""Every name that can be stored has an address: over the client, over plain HTTP, and on the page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.client import Client
from engine.errors import ModelNotFound
from engine.server import create_app
from engine.server.addresses import name_to_address
from tests.server.test_client import Through
from tests.server.test_model_requests import MOMENTS
from tests.server.test_search_requests import refusal

NAMES = [
    "a/samples", "a/similar", "x/similar", "samples", "similar", "samples/samples", ".", "..", "...", "../..", "a/../b",
    "a/..", "./a", "%2F", "a%2fb", "%", "%25", "%zz", "?", "#", "a?b=c", "a#b", "a b", "+", "a+b", "ü", "a//b", "//",
    "/", "/a", "a/", "/samples", "\\", "a\\b", ";", "a;b", "&", "name=x", "'", '"', "<b>", "日本", "e\u0301",
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, TestClient]]:
    """One collection for all of these, and who asks and changes it."""
    address = f"sqlite:///{tmp_path_factory.mktemp('names') / 'zoo.db'}"
    with (
        Engine.open(address, create=True, encoder="external:mine") as engine,
        TestClient(create_app(engine, with_keys=False), raise_server_exceptions=False) as client,
    ):
        yield engine, client


@pytest.fixture
def own(shared: tuple[Engine, TestClient]) -> Iterator[Engine]:
    """It, emptied after each test."""
    yield shared[0]
    for model in shared[0].models():
        shared[0].remove(model.name)


@pytest.fixture
def writer(shared: tuple[Engine, TestClient]) -> TestClient:
    """Who asks it."""
    return shared[1]


@pytest.fixture
def remote(writer: TestClient) -> Iterator[Client]:
    with Client("http://testserver", transport=Through(writer)) as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_a_client_reaches_every_name(own: Engine, writer: TestClient, remote: Client, name: str) -> None:
    own.ingest_statistics(["a", "x", "other"], [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], encoder="external:mine", samples=5)
    put = writer.put("/v1/model", params={"name": name}, json=MOMENTS)
    assert put.json()["name"] == name
    assert len(own.models()) == 4
    assert remote.get(name).name == name
    assert remote.update(name, author="Ada").author == "Ada"
    assert own.get(name).author == "Ada"
    assert {hit.name for hit in remote.similar(name, distance="cosine")} == {"a", "x", "other"}
    assert writer.get("/v1/model/samples", params={"name": name}).json() == {"samples": []}
    assert (
        refusal(writer.post("/v1/model/samples", params={"name": name}, json={}), 409)["title"] == "MissingStatistics"
    )
    shown = writer.get("/model", params={"name": name})
    assert shown.status_code == 200
    assert f"<h1>{html.escape(name)}" in shown.text.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    remote.remove(name)
    with pytest.raises(ModelNotFound):
        remote.get(name)
    assert len(own.models()) == 3


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_their_model(own: Engine, writer: TestClient, name: str) -> None:
    own.ingest_statistics([name], [[1.0, 0, 0]], encoder="external:mine", samples=5)
    links = re.findall(r'<h\d>\s*<a href="([^"]+)"', writer.get("/models").text)
    assert len(links) == 1
    address = html.unescape(links[0])
    assert writer.get(address).status_code == 200
    assert writer.get(name_to_address(name)).json()["name"] == name
    assert writer.get(name_to_address(name, word="samples")).json() == {"samples": []}


IN_PATHS = [name for name in NAMES if name.strip(".") and ".." not in name and name != "./a"]


@pytest.mark.parametrize("name", IN_PATHS)
def test_an_encoded_name_is_one_part_of_a_path(own: Engine, writer: TestClient, name: str) -> None:
    own.ingest_statistics([name, "a", "x"], [[1.0, 0, 0]] * 3, encoder="external:mine", samples=5)
    address = f"/v1/models/{quote(name, safe='')}"
    assert writer.get(address).json()["name"] == name
    assert writer.get(f"{address}/samples").json() == {"samples": []}
    found = writer.get(f"{address}/similar", params={"distance": "cosine", "k": 5}).json()["hits"]
    assert {hit["name"] for hit in found} == {"a", "x"}


def test_slashes_that_are_not_encoded_belong_to_the_name(own: Engine, writer: TestClient) -> None:
    own.ingest_statistics(["a/b", "a"], [[1.0, 0, 0]] * 2, encoder="external:mine", samples=5)
    assert writer.get("/v1/models/a/b").json()["name"] == "a/b"
    assert writer.get("/v1/models/a/b/samples").json() == {"samples": []}
    assert writer.get("/models/a/b").status_code == 200
    assert writer.get("/v1/models/a/samples").json() == {"samples": []}


@pytest.mark.parametrize("query", ["", "?k=3", "?name=a&name=b", "?name=%FF"])
def test_an_address_by_query_has_one_name(writer: TestClient, query: str) -> None:
    for path in ("/v1/model", "/v1/model/similar", "/model"):
        assert "name" in refusal(writer.get(path + query), 422)["detail"]


def test_a_name_in_an_address_is_utf8(writer: TestClient) -> None:
    assert "UTF-8" in refusal(writer.get("/v1/models/%FF"), 422)["detail"]


def test_a_long_name_is_not_repeated(own: Engine, writer: TestClient) -> None:
    for path in ("/v1/models/{}", "/v1/models/{}/similar", "/v1/model?name={}", "/models/{}", "/v1/ingest/{}", "/{}"):
        answer = writer.get(path.format("x" * 60_000))
        assert answer.status_code == 404
        assert len(answer.content) < (2000 if path != "/models/{}" else 5000)  # a page has a frame
