"""``/v1/models`` and its kin: reading, writing, paging; who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import anyio
import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine, errors
from engine.config import Settings
from engine.server import Limits, create_app
from engine.server.gate import Gate
from engine.server.problems import Refused, error_to_status
from engine.shapes import model_to_json
from engine.storage.keys import is_token_of
from tests.server.conftest import LIMITS
from tests.server.test_search_requests import names, refusal

MOMENTS = {"encoder": "external:mine", "mean": [0.6, 0.8, 0.0], "samples": 20}


def test_models_come_page_by_page(client: TestClient, served: Engine) -> None:
    first = client.get("/v1/models", params={"limit": 3}).json()
    rest = client.get("/v1/models", params={"limit": 3, "cursor": first["next"]}).json()
    found = [model["name"] for model in first["models"] + rest["models"]]
    assert found == [model.name for model in served.models()]
    assert rest["next"] is None


@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at", "updated_at", "-updated_at"])
def test_pages_neither_repeat_nor_skip(own: Engine, writer: TestClient, sort: str) -> None:
    own.ingest_statistics([f"m{i}" for i in range(8)], np.eye(8), encoder="external:mine", samples=5)
    own.update("m3", author="Ada")
    found: list[str] = []
    cursor = None
    while True:
        page = writer.get("/v1/models", params={"sort": sort, "limit": 3, **({"cursor": cursor} if cursor else {})})
        found += [model["name"] for model in page.json()["models"]]
        cursor = page.json()["next"]
        if cursor is None:
            break
    models = sorted(own.models(), key=lambda model: (getattr(model, sort.lstrip("-")), model.id))
    expected = [model.name for model in models]
    assert found == (expected[::-1] if sort.startswith("-") else expected)


def test_a_model_that_comes_between_pages_moves_no_other(own: Engine, writer: TestClient) -> None:
    own.ingest_statistics(["b", "d", "f"], np.eye(3), encoder="external:mine", samples=5)
    first = writer.get("/v1/models", params={"limit": 2}).json()
    own.ingest_statistics(["a", "e"], np.eye(3)[:2], encoder="external:mine", samples=5)
    second = writer.get("/v1/models", params={"limit": 3, "cursor": first["next"]}).json()
    assert [model["name"] for model in second["models"]] == ["e", "f"]


@pytest.mark.parametrize(
    ("params", "title"),
    [
        ({"sort": "size"}, "InvalidInput"),
        ({"limit": 0}, "InvalidRequest"),
        ({"limit": 4}, "LimitExceeded"),
        ({"cursor": "x"}, "InvalidInput"),
        ({"cursor": "W10"}, "InvalidInput"),
        ({"cursor": "é"}, "InvalidInput"),
        ({"tag": "a\x00b"}, "InvalidFilter"),
    ],
)
def test_listings_that_are_refused(client: TestClient, params: dict[str, Any], title: str) -> None:
    assert refusal(client.get("/v1/models", params=params), 422)["title"] == title


def test_a_cursor_of_another_sort_is_refused(client: TestClient) -> None:
    cursor = client.get("/v1/models", params={"limit": 1}).json()["next"]
    refusal(client.get("/v1/models", params={"limit": 1, "sort": "-name", "cursor": cursor}), 422)


def test_a_model_and_what_hangs_on_it(client: TestClient, served: Engine) -> None:
    found = client.get("/v1/models/reds").json()
    expected = model_to_json(served.get("reds"))
    assert {key: value for key, value in found.items() if not key.endswith("_at")} == {
        key: value for key, value in expected.items() if not key.endswith("_at")
    }
    similar = client.get("/v1/models/reds/similar", params={"k": 2})
    assert names(similar) == [hit.name for hit in served.similar("reds", 2)]
    by_cosine = client.get("/v1/models/reds/similar", params={"distance": "cosine"})
    assert names(by_cosine) == [hit.name for hit in served.similar("reds", distance="cosine")]
    samples = client.get("/v1/models/reds/samples").json()["samples"]
    assert len(samples) == len(served.thumbnails("reds"))
    for path in ("", "/similar", "/samples"):
        assert refusal(client.get(f"/v1/models/pinks{path}"), 404)["title"] == "ModelNotFound"
    refusal(client.get("/v1/models/reds/similar", params={"distance": "far"}), 422)
    encoders = client.get("/v1/encoders").json()["encoders"]
    assert [(one["name"], one["default"]) for one in encoders] == [("compact", True)]


def test_a_model_is_put_changed_and_removed(own: Engine, writer: TestClient) -> None:
    made = writer.put("/v1/models/fox", json={**MOMENTS, "tags": ["animal"]})
    assert made.status_code == 200, made.text
    assert made.json()["tags"] == ["animal"]
    assert names(writer.post("/v1/search", json={"vector": [0.6, 0.8, 0.0]})) == ["fox"]
    changed = writer.patch("/v1/models/fox", json={"name": "vixen", "author": "Ada", "description": None})
    assert (changed.json()["name"], changed.json()["author"]) == ("vixen", "Ada")
    assert own.get("vixen").tags == ("animal",)
    again = writer.put(
        "/v1/models/vixen", json={**MOMENTS, "mean": [0.0, 0.0, 1.0], "covariance": [0.1, 0, 0.1, 0, 0, 0.1]}
    )
    assert again.json()["id"] == made.json()["id"]
    assert own.search_vectors(np.array([0.0, 0.0, 1.0]), 1)[0][0] == pytest.approx(1.0)
    assert writer.delete("/v1/models/vixen").status_code == 204
    refusal(writer.delete("/v1/models/vixen"), 404)
    assert own.models() == []


def test_names_with_slashes_and_spaces(own: Engine, writer: TestClient) -> None:
    for name in ("artist/style v2", "100 % owl", "ä?#&"):
        address = "/v1/models/" + "".join(c if c.isalnum() and c.isascii() else "".join(f"%{b:02X}" for b in c.encode())
                                          for c in name)  # fmt: skip
        assert writer.put(address, json=MOMENTS).json()["name"] == name
        assert writer.get(address).json()["name"] == name
        assert names(writer.get(f"{address}/similar", params={"distance": "cosine", "k": 1})) in (
            [],
            ["artist/style v2"],
        )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "title"),
    [
        ("PUT", "/v1/models/fox", {**MOMENTS, "mean": []}, 422, "InvalidRequest"),
        ("PUT", "/v1/models/fox", {**MOMENTS, "mean": [0.0, 0.0, 0.0]}, 422, None),
        ("PUT", "/v1/models/fox", {**MOMENTS, "samples": 0}, 422, "InvalidRequest"),
        ("PUT", "/v1/models/fox", {**MOMENTS, "samples": 2**31}, 422, "InvalidStatistics"),
        ("PUT", "/v1/models/fox", {**MOMENTS, "samples": 2**63}, 422, "InvalidStatistics"),
        ("PUT", "/v1/models/fox", {**MOMENTS, "samples": 10**23}, 422, "InvalidStatistics"),
        ("PUT", "/v1/models/fox", {**MOMENTS, "covariance": [1.0]}, 422, None),
        ("PUT", "/v1/models/fox", {**MOMENTS, "covariance": [-1.0, 0, -1, 0, 0, -1]}, 422, "InvalidStatistics"),
        ("PUT", "/v1/models/fox", {**MOMENTS, "mean": [1.0, 0.0]}, 409, "EncoderMismatch"),
        ("PUT", "/v1/models/%20", MOMENTS, 422, "InvalidInput"),
        ("PATCH", "/v1/models/known", {"tags": "animal"}, 422, "InvalidRequest"),
        ("PATCH", "/v1/models/known", {"name": ""}, 422, "InvalidInput"),
        ("PATCH", "/v1/models/known", {"resolution": 2**31}, 422, "InvalidInput"),
        ("PATCH", "/v1/models/known", {"resolution": 10**23}, 422, "InvalidInput"),
        ("POST", "/v1/search", {"model": "known", "weights": {"model": 1e39}}, 422, "InvalidQuery"),
        ("POST", "/v1/search", {"model": "known", "shortlist": 10**23}, 422, "LimitExceeded"),
        ("PATCH", "/v1/models/known", {"colour": "red"}, 422, "InvalidRequest"),
        ("PATCH", "/v1/models/known", {"name": "other"}, 409, "DuplicateName"),
        ("PATCH", "/v1/models/nobody", {"author": "Ada"}, 404, "ModelNotFound"),
    ],
)
def test_changes_that_are_refused(
    own: Engine, writer: TestClient, method: str, path: str, body: Any, status: int, title: str | None
) -> None:
    own.ingest_statistics(["known", "other"], np.eye(3)[:2], encoder="external:mine", samples=5)
    before = own.models()
    found = refusal(writer.request(method, path, json=body), status)
    assert title in (None, found["title"])
    assert own.models() == before


def test_put_replaces_what_came_from_a_file(own: Engine, writer: TestClient, tmp_path: Any) -> None:
    """Whoever puts something under a name means that name: nothing of the other source is left."""
    np.save(tmp_path / "fox.npy", np.eye(4)[:, :3] + 0.1)
    own.ingest(tmp_path / "fox.npy", encoder="external:mine", description="From a file.", tags=["old"])
    assert writer.put("/v1/models/fox", json=MOMENTS).status_code == 200
    assert (own.get("fox").source["type"], own.get("fox").description) == ("moments", None)


# --- the server itself


def test_health_and_metrics(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").text == "ready\n"
    client.get("/v1/models/reds")
    text = client.get("/metrics").text
    assert 'engine_requests_total{method="GET",route="/v1/models/{name:path}",status="200"}' in text
    assert refusal(client.get("/v1/nothing"), 404)["title"] == "HttpError"
    refusal(client.put("/v1/search", json={}), 405)


def test_a_server_whose_database_is_gone_is_not_ready(own: Engine, writer: TestClient, tmp_path: Any) -> None:
    own.services.database.close()
    for path in tmp_path.glob("own.db*"):
        if path.is_file():
            path.unlink()
    (tmp_path / "own.db").write_bytes(b"this is no database, whatever it is called" * 100)
    refusal(writer.get("/readyz"), 503)
    assert writer.get("/healthz").status_code == 200


def every_error(kind: type[errors.EngineError] = errors.EngineError) -> list[type[errors.EngineError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_error(child))]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status(kind: type[errors.EngineError]) -> None:
    status = error_to_status(kind("x"))
    assert 400 <= status < 600
    if issubclass(kind, errors.InvalidInput):
        assert status == 422
    if issubclass(kind, errors.NotFound) and not issubclass(kind, errors.DatabaseNotFound):
        assert status == 404


# --- keys


@pytest.fixture
def locked(own: Engine) -> TestClient:
    return TestClient(create_app(own, limits=LIMITS), raise_server_exceptions=False)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_keys_open_what_their_scopes_say(own: Engine, locked: TestClient) -> None:
    reader, token = own.keys.create("reader", ["read"])
    _, both = own.keys.create("robot", ["read", "write"])
    _, only_writes = own.keys.create("feeder", ["write"])
    for headers in (
        {},
        bearer("nonsense"),
        bearer(token[:-1] + "x"),
        bearer("ek_zz_" + token),
        {"Authorization": token},
    ):
        refused = locked.get("/v1/models", headers=headers)
        assert refusal(refused, 401)["title"] == "Unauthorized"
        assert refused.headers["www-authenticate"] == "Bearer"
    assert locked.get("/v1/models", headers=bearer(token)).status_code == 200
    assert refusal(locked.put("/v1/models/fox", json=MOMENTS, headers=bearer(token)), 403)["title"] == "Forbidden"
    assert locked.put("/v1/models/fox", json=MOMENTS, headers=bearer(both)).status_code == 200
    refusal(locked.get("/v1/models", headers=bearer(only_writes)), 403)
    assert locked.get("/healthz").status_code == 200
    own.keys.revoke(reader.id)
    fresh = TestClient(create_app(own, limits=LIMITS), raise_server_exceptions=False)
    refusal(fresh.get("/v1/models", headers=bearer(token)), 401)


def test_a_revoked_key_is_forgotten_in_time(own: Engine, locked: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    key, token = own.keys.create("reader", ["read"])
    assert locked.get("/v1/models", headers=bearer(token)).status_code == 200
    own.keys.revoke(key.id)
    assert locked.get("/v1/models", headers=bearer(token)).status_code == 200  # for as long as it is believed
    monkeypatch.setattr("engine.server.key_table.FRESH", 0.0)
    refusal(locked.get("/v1/models", headers=bearer(token)), 401)


def test_only_a_hash_of_a_key_is_kept(own: Engine) -> None:
    key, token = own.keys.create("reader", ["read"])
    assert re.fullmatch(r"ek_[0-9a-f]{8}_[\w-]{43}", token)
    secret = token.split("_", 2)[2]
    assert secret not in str(own.services.catalog.facts())
    assert own.keys.all() == [key]
    digest, found = own.keys.digests()[key.id]
    assert found == key
    assert is_token_of(token, digest)
    assert not is_token_of(f"{token}x", digest)
    with pytest.raises(errors.InvalidInput):
        own.keys.create("reader", ["owner"])
    with pytest.raises(errors.InvalidInput):
        own.keys.create("reader", [])
    with pytest.raises(errors.KeyNotFound):
        own.keys.revoke("none")


# --- how much at once


def test_who_comes_when_too_many_wait_is_turned_away() -> None:
    async def scene() -> None:
        gate = Gate(Limits(searches=1, waiting=1))
        began, go = anyio.Event(), anyio.Event()
        done: list[str] = []

        def slow(name: str) -> None:
            anyio.from_thread.run_sync(began.set)
            anyio.from_thread.run(go.wait)
            done.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(gate.run, slow, "first")
            await began.wait()
            group.start_soon(gate.run, slow, "second")
            while gate.waiting < 1:
                await anyio.sleep(0.001)
            with pytest.raises(Refused) as caught:
                await gate.run(slow, "third")
            assert caught.value.status == 429
            go.set()
        assert done == ["first", "second"]
        assert (gate.working, gate.waiting) == (0, 0)

    anyio.run(scene)


def test_one_that_is_cancelled_while_it_waits_frees_its_place() -> None:
    async def scene() -> None:
        gate = Gate(Limits(searches=1, waiting=1))
        began, go = anyio.Event(), anyio.Event()
        ran: list[str] = []

        def slow(name: str) -> None:
            ran.append(name)
            anyio.from_thread.run_sync(began.set)
            anyio.from_thread.run(go.wait)

        async with anyio.create_task_group() as group:
            group.start_soon(gate.run, slow, "first")
            await began.wait()
            with anyio.move_on_after(0.05):
                await gate.run(slow, "gone")
            assert gate.waiting == 0
            go.set()
        assert ran == ["first"]

    anyio.run(scene)


@pytest.mark.parametrize("limits", [{"k": 0}, {"batch": True}, {"body_bytes": 1.5}])
def test_limits_are_whole_numbers(limits: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidInput):
        Limits(**limits)


# --- the document


def test_the_openapi_document_says_what_there_is(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]["/v1/search"]["post"]["requestBody"]["content"]) == {
        "application/json", "multipart/form-data",
    }  # fmt: skip
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            if path.startswith("/v1/"):
                assert {"404", "422", "429"} <= set(operation["responses"]), path


def test_settings_from_the_environment() -> None:
    read: Callable[[str], Settings] = lambda text: Settings.from_environment({"ENGINE_ENCODE_TOGETHER": text})  # noqa: E731
    assert read("1").encode_together
    assert not read("no").encode_together
    with pytest.raises(errors.InvalidInput):
        read("perhaps")
