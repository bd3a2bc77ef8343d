"""``engine.client``: the same calls, answers and errors as the embedded engine's, over HTTP."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine, errors
from engine.client import AsyncClient, Client, ServerError
from engine.records import Part
from engine.server import create_app
from tests.samples.test_generator_onnx import linear
from tests.server.conftest import COLOURS, LIMITS, picture, to_bytes


class Through(httpx.BaseTransport):
    """Hands requests to an application in this process."""

    def __init__(self, inner: TestClient) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )  # fmt: skip
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def remote(client: TestClient) -> Iterator[Client]:
    with Client("http://testserver", transport=Through(client)) as found:
        yield found


QUERIES: list[dict[str, Any]] = [
    {"text": "a red circle"},
    {"image": picture(COLOURS["greens"], 50), "k": 2},
    {"sketch": np.asarray(picture(COLOURS["blues"], 51))},
    {"image": to_bytes(picture(COLOURS["greys"], 52)), "text": "grey", "weights": {"text": 0.5}},
    {"model": "reds", "where": [("tag", "colour")]},
    {"text": ["a red circle", "blue"], "weights": {"text_2": 2.0}},
    {"text": "red", "parts": [Part("image", picture(COLOURS["blues"], 53), 2.0), Part("model", "reds", name="like")]},
    {"text": "blue", "where": {"tag": ["grey"]}, "transform": None, "tempered": False, "recall": 1.0},
]


@pytest.mark.parametrize("query", QUERIES)
def test_it_finds_what_the_engine_finds(remote: Client, served: Engine, query: dict[str, Any]) -> None:
    here, there = served.search(**query), remote.search(**query)
    assert [hit.name for hit in there] == [hit.name for hit in here]
    assert [hit.score for hit in there] == pytest.approx([hit.score for hit in here], rel=1e-4)
    assert (there.method, there.shortlist, there.transform) == (here.method, here.shortlist, here.transform)
    assert [hit.model.tags for hit in there] == [hit.model.tags for hit in here]


def test_it_takes_what_the_engine_takes() -> None:
    embedded = inspect.signature(Engine.search)
    for kind in (Client, AsyncClient):
        assert list(inspect.signature(kind.search).parameters) == list(embedded.parameters)
        for name, parameter in inspect.signature(kind.search).parameters.items():
            assert parameter.default == embedded.parameters[name].default, name
            assert parameter.kind == embedded.parameters[name].kind, name


def test_records_are_the_same(remote: Client, served: Engine) -> None:
    assert remote.models() == served.models()
    assert remote.models({"tag": "grey"}) == served.models({"tag": "grey"})
    assert remote.get("reds") == served.get("reds")
    assert [hit.name for hit in remote.similar("reds", 2)] == [hit.name for hit in served.similar("reds", 2)]


@pytest.mark.parametrize(
    "call",
    [
        lambda eng: eng.search(),
        lambda eng: eng.search(text=""),
        lambda eng: eng.search(model="nobody"),
        lambda eng: eng.search(text="x", k=0),
        lambda eng: eng.search(text="x", where={"size": "1"}),
        lambda eng: eng.search(image=b"no picture"),
        lambda eng: eng.search(text="x", encoder="none"),
        lambda eng: eng.get("nobody"),
        lambda eng: eng.similar("reds", distance="far"),
    ],
)
def test_it_raises_what_the_engine_raises(remote: Client, served: Engine, call: Any) -> None:
    with pytest.raises(errors.EngineError) as here:
        call(served)
    with pytest.raises(type(here.value)) as there:
        call(remote)
    assert type(there.value) is type(here.value)
    assert there.value.message


def test_it_changes_and_removes(own: Engine) -> None:
    own.ingest_statistics(["a/b", "c"], np.eye(2), encoder="external:mine", samples=5)
    inner = TestClient(create_app(own, limits=LIMITS, with_keys=False), raise_server_exceptions=False)
    with Client("http://testserver", transport=Through(inner)) as remote:
        assert remote.update("a/b", author="Ada", tags=["x"]) == own.get("a/b")
        assert own.get("a/b").author == "Ada"
        remote.remove("a/b")
        own.ingest_statistics(["d"], np.eye(2)[:1], encoder="external:mine", samples=5)
        with pytest.raises(errors.DuplicateName):
            remote.update("d", name="c")
    assert [model.name for model in own.models()] == ["c", "d"]


def test_asynchronous_code_finds_the_same(served: Engine) -> None:
    app = create_app(served, limits=LIMITS, with_keys=False)

    async def scene() -> None:
        transport = httpx.ASGITransport(app)
        async with AsyncClient("http://testserver", transport=transport) as remote:
            hits = await remote.search(text="a red circle", image=picture(COLOURS["reds"], 1))
            expected = served.search(text="a red circle", image=picture(COLOURS["reds"], 1))
            assert [hit.name for hit in hits] == [hit.name for hit in expected]
            assert (await remote.get("reds")).name == "reds"
            assert [hit.name for hit in await remote.similar("reds")] == [hit.name for hit in served.similar("reds")]
            with pytest.raises(errors.ModelNotFound):
                await remote.get("nobody")

    anyio.run(scene)


def test_a_server_that_is_not_there_or_is_another(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:9", timeout=2) as nobody, pytest.raises(ServerError, match="does not answer"):
        nobody.get("x")
    page = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>"))
    with Client("http://elsewhere", transport=page) as other, pytest.raises(ServerError, match="not JSON"):
        other.get("x")
    with Client("http://elsewhere") as client, pytest.raises(errors.SourceNotFound):
        client.search(image=tmp_path / "none.png")


def test_a_refusal_without_an_error_of_the_engine(own: Engine) -> None:
    inner = TestClient(create_app(own, limits=LIMITS), raise_server_exceptions=False)
    with Client("http://testserver", transport=Through(inner)) as client, pytest.raises(ServerError) as caught:
        client.models()
    assert caught.value.status == 401
    _, token = own.keys.create("reader", ["read"])
    with Client("http://testserver", key=token, transport=Through(inner)) as client:
        assert client.models() == []


# --- drawing and taking in


def test_drawing_and_taking_in_over_http(tmp_path: Path) -> None:
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="compact") as engine:
        engine.ingest(linear(tmp_path / "decoder.onnx"), name="decoder", samples=8)
        archive = tmp_path / "blues.zip"
        with zipfile.ZipFile(archive, "w") as stream:
            for i in range(5):
                stream.writestr(f"{i}.png", to_bytes(picture(COLOURS["blues"], i)))
        with (
            TestClient(create_app(engine, with_keys=False)) as inner,
            Client("http://t", transport=Through(inner)) as far,
        ):
            expected = engine.draw("decoder", 3, seed=5)
            drawn = far.draw("decoder", 3, seed=5)
            assert [np.asarray(image).tolist() for image in drawn] == [np.asarray(image).tolist() for image in expected]
            with pytest.raises(errors.ModelNotFound):
                far.draw("nobody")
            told: list[tuple[int, int | None, int]] = []
            model = far.ingest(archive, name="blues", tags=["blue"], on_progress=lambda *said: told.append(said))
            assert model == engine.get("blues")
            assert (model.samples, model.tags) == (5, ("blue",))
            assert told[-1] == (5, 5, 0)
            with pytest.raises(errors.InvalidInput):
                far.ingest(archive, name="bad\nname")
            with pytest.raises(errors.SourceNotFound, match=r"gone\.zip"):
                far.ingest(tmp_path / "gone.zip", name="x")


def test_a_key_that_only_writes(own: Engine, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    _, token = own.keys.create("feeder", ["write"])
    with TestClient(create_app(own)) as inner, Client("http://t", key=token, transport=Through(inner)) as far:
        assert far.ingest(tmp_path / "rows.npy", name="rows", encoder="external:mine").name == "rows"
        assert far.update("rows", author="Ada").name == "rows"
        assert own.get("rows").author == "Ada"
        with pytest.raises(ServerError):
            far.get("rows")
        with pytest.raises(ServerError):
            far.draw("rows")
        far.remove("rows")
    assert own.models() == []
