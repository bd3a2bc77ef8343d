"""Texts in requests: lone surrogates, names of every script, members that are misspelt."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.client import Client
from engine.errors import InvalidInput, InvalidQuery, ModelNotFound
from engine.server import create_app
from tests.server.test_client import Through

BAD = r'"\ud800"'
TITLES = ("InvalidRequest", "InvalidQuery", "InvalidFilter", "InvalidInput", "ModelNotFound")
MODEL, PICTURES = "/v1/models/known", "/v1/models/known/samples"
MOMENTS = {"encoder": "external:mine", "mean": [0.6, 0.8], "samples": 3}
NAME = "\U0001f468\u200d\U0001f469 \u8d64\u3000\u9ce5/\u0645\u06cc\u200c\u062e"


@pytest.fixture(scope="module")
def eng(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('texts') / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="external:mine") as opened:
        opened.ingest_statistics(["known"], np.eye(2)[:1], encoder="external:mine", samples=5)
        yield opened


@pytest.fixture(scope="module")
def asked(eng: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(eng, with_keys=False), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *(
            (method, path, body)
            for path, form in (("/v1/search", "%s"), ("/v1/search/batch", '{"queries": [%s]}'))
            for method, body in (
                ("POST", form % f'{{"text": {BAD}}}'), ("POST", form % f'{{"model": {BAD}}}'),
                ("POST", form % f'{{"model": "known", "where": {{"tag": {BAD}}}}}'),
                ("POST", form % f'{{"model": "known", "where": {{{BAD}: "x"}}}}'),
                ("POST", form % f'{{"model": "known", "weights": {{{BAD}: 1}}}}'),
                ("POST", form % f'{{"model": "known", "method": {BAD}}}'), ("POST", form % f"{{{BAD}: 1}}"),
            )
        ),
        ("PATCH", MODEL, f'{{"description": {BAD}}}'), ("PATCH", MODEL, f'{{"name": {BAD}}}'),
        ("PATCH", MODEL, f'{{"tags": [{BAD}]}}'), ("PATCH", MODEL, f'{{"links": {{{BAD}: "x"}}}}'),
        ("PATCH", MODEL, f'{{"metadata": {{"a": [{BAD}]}}}}'), ("PATCH", MODEL, f"{{{BAD}: 1}}"),
        ("PUT", "/v1/models/new", json.dumps(MOMENTS | {"encoder": "\ud800"})),
        ("PUT", "/v1/models/new", json.dumps(MOMENTS | {"tags": ["\ud800"]})),
        ("POST", PICTURES, f"{{{BAD}: 1}}"),
    ],
)  # fmt: skip
def test_lone_surrogates_are_refused(eng: Engine, asked: TestClient, method: str, path: str, body: str) -> None:
    before = eng.models()
    answer = asked.request(method, path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (404, 422)
    assert answer.json()["title"] in (
        "InvalidRequest",
        "InvalidQuery",
        "InvalidFilter",
        "InvalidInput",
        "ModelNotFound",
        "EncoderNotFound",
    )
    assert eng.models() == before


def test_a_cursor_is_refused_where_it_holds_no_text(asked: TestClient) -> None:
    for text in ("\ud800", "a\0"):
        cursor = base64.urlsafe_b64encode(json.dumps(["name", text, 1]).encode()).decode()
        answer = asked.get("/v1/models", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["title"]) == (422, "InvalidInput")


@pytest.mark.parametrize(
    ("method", "path", "member", "nearest"),
    [
        ("POST", "/v1/search", "txt", "text"), ("POST", "/v1/search", "Where", "where"),
        ("PATCH", MODEL, "tag", "tags"),
        ("PUT", "/v1/models/new", "sample", "samples"), ("POST", PICTURES, "cont", "count"),
    ],
)  # fmt: skip
def test_the_nearest_member_is_named(asked: TestClient, method: str, path: str, member: str, nearest: str) -> None:
    said = asked.request(method, path, json={member: 1}).json()
    assert (said["title"], said["status"]) == ("InvalidRequest", 422)
    assert f"there is no member '{member}'; did you mean {nearest}?" in said["detail"]


def test_the_nearest_member_of_an_upload_is_named(asked: TestClient) -> None:
    details = json.dumps({"name": "new", "tag": ["a"]})
    answer = asked.post("/v1/ingest", data={"details": details}, files={"file": ("a.npy", b"x")})
    assert answer.status_code == 422
    assert "did you mean tags?" in answer.json()["detail"]


def test_names_of_every_script_have_addresses(eng: Engine, asked: TestClient) -> None:
    made = asked.put(f"/v1/models/{quote(NAME, safe='')}", json={**MOMENTS, "tags": [NAME]})
    assert (made.status_code, made.json()["name"], made.json()["tags"]) == (200, NAME, [NAME])
    assert asked.get(f"/v1/models/{quote(NAME, safe='')}").json()["name"] == NAME
    assert NAME in asked.get("/", params={"q": f'tag:"{NAME}"'}).text
    shown = asked.get(f"/models/{quote(NAME, safe='')}")
    assert f"<h1>{NAME}</h1>" in shown.text.replace("\n", "")
    with Client("http://testserver", transport=Through(asked)) as remote:
        assert remote.get(NAME) == eng.get(NAME)
        remote.remove(NAME)


@pytest.mark.parametrize("text", ["\ud800", "a\udce9"])
def test_the_client_says_so_as_the_engine_does(eng: Engine, asked: TestClient, text: str) -> None:
    calls: list[tuple[Any, type[Exception]]] = [
        (lambda e: e.search(text=text), InvalidQuery), (lambda e: e.search(model="known", method=text), InvalidQuery),
        (lambda e: e.search(model="known", where={"tag": text}), InvalidInput), (lambda e: e.get(text), ModelNotFound),
        (lambda e: e.models({"tag": text}), InvalidInput), (lambda e: e.similar(text), ModelNotFound),
        (lambda e: e.update("known", author=text), InvalidInput), (lambda e: e.remove(text), ModelNotFound),
        (lambda e: e.update("known", tag=["x"]), InvalidInput),
    ]  # fmt: skip
    with Client("http://testserver", transport=Through(asked)) as remote:
        for call, kind in calls:
            for side in (eng, remote):
                with pytest.raises(kind):
                    call(side)
