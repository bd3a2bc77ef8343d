"""What one request may ask of searches: answers, shortlists, filters, also over a whole batch."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.server import Limits, create_app
from tests.server.test_search_requests import refusal

TEXT = {"text": "a red circle"}
LIMITS = Limits(k=100, batch=8, batch_answers=300, shortlist=1000)


@pytest.fixture(scope="module")
def asked(served: Engine) -> Any:
    with TestClient(create_app(served, limits=LIMITS, with_keys=False), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"k": 60, "offset": 41}, "k + offset is at most 100, got 101"),
        ({"offset": 10**30}, "k + offset is at most 100, got 1"),
        ({"k": int("9" * 4000)}, "k + offset is at most 100, got one of"),
        ({"shortlist": 1001}, "shortlist is at most 1000, got 1001"),
        ({"where": [["tag", ["x"] * 20]] * 51}, "up to 1000 values in all its conditions, got 1,020"),
        ({"where": [["name~!", ["x"] * 50]] * 5}, "up to 200 parts (~) in all its conditions, got 250"),
        ({"where": {"tag": "x" * 70_000}}, "up to 65,536 characters"),
    ],
)
def test_one_search_is_bounded(asked: TestClient, query: dict[str, Any], said: str) -> None:
    assert said.replace(",", "") in refusal(asked.post("/v1/search", json=TEXT | query), 422)["detail"].replace(",", "")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"k": 50, "offset": 30}, "300 answers in all, got 320"),
        ({"k": 1, "shortlist": 400}, "1000 candidates on its shortlists in all, got 1600"),
        ({"k": 1, "where": {"tag": ["x"] * 300}}, "1,000 values in all its conditions, got 1,200"),
        ({"k": 1, "where": {"name~": ["x"] * 60}}, "200 parts (~) in all its conditions, got 240"),
    ],
)
def test_a_batch_is_bounded_as_a_whole(asked: TestClient, query: dict[str, Any], said: str) -> None:
    problem = refusal(asked.post("/v1/search/batch", json={"queries": [TEXT | query] * 4}), 422)
    assert said in problem["detail"]
    assert asked.post("/v1/search/batch", json={"queries": [TEXT | query]}).status_code == 200


def test_an_address_is_bounded_likewise(asked: TestClient) -> None:
    address = "/v1/models?" + "&".join(f"name~!={','.join(['x'] * 50)}" for _ in range(100))
    assert "1,000 values" in refusal(asked.get(address), 422)["detail"]
