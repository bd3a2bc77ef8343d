"""``POST /v1/search``: the answers are the engine's own, and what cannot be asked is refused in one shape."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from tests.server.conftest import COLOURS, LIMITS, picture, to_bytes

IMAGE = to_bytes(picture(COLOURS["blues"], 99))


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["name"] for hit in answer.json()["hits"]]


def refusal(answer: Any, status: int) -> dict[str, Any]:
    """The problem, whose members every error has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:engine:problem:")
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    "query",
    [
        {"text": "a red circle"},
        {"model": "reds"},
        {"text": "blue", "model": "greens", "weights": {"text": 2.0}, "k": 2},
        {"text": "red", "where": {"tag": "grey"}},
        {"text": "red", "where": [["tag!", "grey"]], "tempered": False},
        {"text": "red", "k": 1, "recall": 1.0},
    ],
)
def test_a_json_search_answers_as_the_engine_does(client: TestClient, served: Engine, query: dict[str, Any]) -> None:
    answer = client.post("/v1/search", json=query)
    hits = served.search(**query)
    assert names(answer) == [hit.name for hit in hits]
    assert [hit["score"] for hit in answer.json()["hits"]] == pytest.approx([hit.score for hit in hits], rel=1e-5)
    assert answer.json()["method"] == hits.method
    assert {"encode", "shortlist", "records", "total"} <= set(answer.json()["timings_ms"])


@pytest.mark.parametrize("modality", ["image", "sketch"])
def test_pictures_come_as_uploads_and_as_base64(client: TestClient, served: Engine, modality: str) -> None:
    hits = served.search(**{modality: picture(COLOURS["blues"], 99)}, k=3)
    expected = [hit.name for hit in hits]
    form = client.post("/v1/search", files={modality: ("x.png", IMAGE)}, data={"query": json.dumps({"k": 3})})
    text = base64.b64encode(IMAGE).decode()
    assert expected[0] == "blues"
    assert names(form) == expected
    assert form.json()["shortlist"] == hits.shortlist == len(COLOURS)
    assert names(client.post("/v1/search", json={modality: text, "k": 3})) == expected
    assert names(client.post("/v1/search", json={modality: f"data:image/png;base64,{text}", "k": 3})) == expected


def test_a_ready_vector_is_searched(client: TestClient, served: Engine) -> None:
    vector = np.random.default_rng(1).normal(size=served.encoders()[0].dimension)
    scores, ids = served.search_vectors(vector, 3)
    answer = client.post("/v1/search", json={"vector": vector.tolist(), "k": 3})
    assert names(answer) == served.names(ids)
    assert [hit["score"] for hit in answer.json()["hits"]] == pytest.approx(scores.tolist(), rel=1e-5)


def test_offset_skips_the_best(client: TestClient) -> None:
    whole = names(client.post("/v1/search", json={"text": "green", "k": 4}))
    answer = client.post("/v1/search", json={"text": "green", "k": 2, "offset": 1})
    assert names(answer) == whole[1:3]
    assert [hit["rank"] for hit in answer.json()["hits"]] == [2, 3]
    assert names(client.post("/v1/search", json={"text": "green", "offset": 10})) == []


def test_a_batch_answers_each_in_order(client: TestClient) -> None:
    queries = [{"text": "red", "k": 2}, {"model": "blues", "k": 1}]
    answer = client.post("/v1/search/batch", json={"queries": queries})
    assert answer.status_code == 200
    each = [names(client.post("/v1/search", json=query)) for query in queries]
    assert [[hit["name"] for hit in one["hits"]] for one in answer.json()["answers"]] == each


@pytest.mark.parametrize(
    ("query", "status", "title", "says"),
    [
        ({}, 422, "InvalidQuery", "no query"),
        ({"text": " "}, 422, "InvalidQuery", "empty"),
        ({"txt": "red"}, 422, "InvalidRequest", "txt"),
        ({"text": "red", "k": 0}, 422, "InvalidRequest", "greater"),
        ({"text": "red", "k": 51}, 422, "LimitExceeded", "50"),
        ({"text": "red", "k": 30, "offset": 30}, 422, "LimitExceeded", "50"),
        ({"text": "x" * 101}, 422, "LimitExceeded", "100"),
        ({"text": "red", "method": "best"}, 422, "InvalidQuery", "best"),
        ({"text": "red", "method": "gaussian_density"}, 422, "InvalidQuery", "gaussian_density"),
        ({"text": "red", "where": {"colour": "x"}}, 422, "InvalidFilter", "colour"),
        ({"model": "pinks"}, 404, "ModelNotFound", "pinks"),
        ({"text": "red", "encoder": "other"}, 404, "EncoderNotFound", "statistics"),
        ({"text": "red", "transform": "other"}, 404, "TransformNotFound", "other"),
        ({"image": "/etc/passwd"}, 422, "InvalidImage", "base64"),
        ({"image": "aGVsbG8="}, 422, "InvalidImage", ""),
        ({"image": "data:image/png,xx"}, 422, "InvalidImage", "base64"),
        ({"vector": [1.0, 2.0]}, 422, "InvalidFeatures", "shape"),
        ({"vector": []}, 422, "InvalidFeatures", "empty"),
        ({"vector": [1.0], "text": "red"}, 422, "InvalidRequest", "alone"),
        ({"vector": [0.0] * 256}, 422, "InvalidFeatures", "zero"),
        ({"text": "red", "weights": {"image": 1.0}}, 422, "InvalidQuery", "no such part"),
        ({"text": "red", "weights": {"text": -1.0}}, 422, "InvalidRequest", "greater"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_shape(
    client: TestClient, query: dict[str, Any], status: int, title: str, says: str
) -> None:
    found = refusal(client.post("/v1/search", json=query), status)
    assert found["title"] == title
    assert says in found["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"k": NaN}', "application/json", 422),
        (b'{"vector": [1e999]}', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"text", "text/plain", 415),
        (b"nothing", "multipart/form-data", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        (b"x" * (LIMITS.body_bytes + 1), "application/json", 413),
    ],
)
def test_bodies_that_are_no_search(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/search", content=body, headers={"content-type": kind})
    refusal(answer, status)


def test_a_body_that_grows_beyond_the_limit_is_cut_off(client: TestClient) -> None:
    def parts() -> Any:
        for _ in range(30):
            yield b" " * 10_000

    found = refusal(
        client.post("/v1/search", content=parts(), headers={"content-type": "application/json"}), 413
    )  # fmt: skip
    assert "200,000" in found["detail"]


@pytest.mark.parametrize(
    ("files", "data"),
    [
        ({"picture": ("x.png", IMAGE)}, {}),
        ({"image": ("x.png", IMAGE), "sketch": ("y.png", IMAGE), "third": ("z.png", IMAGE)}, {}),
        ({"query": ("q.json", b"{}")}, {}),
        ({"image": ("x.png", IMAGE)}, {"query": json.dumps({"image": base64.b64encode(IMAGE).decode()})}),
        ({"image": ("x.png", IMAGE)}, {"query": json.dumps({"vector": [1.0]})}),
        ({"image": ("x.png", b"not a picture")}, {}),
        ({"image": ("../../etc/passwd", b"")}, {}),
    ],
)
def test_forms_that_are_no_search(client: TestClient, files: Any, data: Any) -> None:
    answer = client.post("/v1/search", files=files, data=data)
    assert answer.status_code in (400, 422)
    refusal(answer, answer.status_code)


def test_a_picture_named_by_a_form_field_is_not_opened(client: TestClient) -> None:
    answer = client.post("/v1/search", data={"image": "/etc/hostname"}, files={"sketch": ("x.png", IMAGE)})
    refusal(answer, answer.status_code)
    assert answer.status_code in (400, 422)


def test_too_many_in_a_batch(client: TestClient) -> None:
    found = refusal(client.post("/v1/search/batch", json={"queries": [{"text": "x"}] * 4}), 422)
    assert "3" in found["detail"]
    refusal(client.post("/v1/search/batch", json={"queries": []}), 422)
