"""A parameter that a route does not have is refused, on every route of the API."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from engine.server.parameters import FILTERED
from tests.server.test_search_requests import refusal


def routes_of_the_api(client: TestClient) -> list[tuple[str, str]]:
    app: Any = client.app
    return [
        (method, route.path.replace("{name:path}", "reds").replace("{job_id}", "none"))
        for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema
        for method in sorted(route.methods)
    ]  # fmt: skip


def test_no_route_ignores_one(client: TestClient) -> None:
    found = routes_of_the_api(client)
    assert len(found) > 15
    for method, path in found:
        problem = refusal(client.request(method, f"{path}?nonsense=1", json={}), 422)
        assert "nonsense" in problem["detail"], (method, path)
        assert problem["hint"]


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("/v1/models/reds/similar?kk=3", "k"), ("/v1/models/reds/similar?distances=cosine", "distance"),
        ("/v1/models?limt=3", "limit"), ("/v1/models?licence_=MIT", "license"), ("/v1/models?tags=x", "tag"),
        ("/v1/models/reds?foo", "none"), ("/v1/encoders?x=1", "none"), ("/healthz?x=1", "none"),
        ("/v1/model/similar?name=reds&kk=3", "k"),
    ],
)  # fmt: skip
def test_the_nearest_one_is_named(client: TestClient, address: str, hint: str) -> None:
    assert hint in refusal(client.get(address), 422)["hint"]


def test_filters_are_parameters_of_the_listing(client: TestClient) -> None:
    for query in ("tag=colour", "-tag=colour", "tag!=colour", "name~=red", "meta.x=1", "licence=MIT", "title=red"):
        assert client.get(f"{FILTERED}?{query}").status_code == 200, query


def test_the_page_ignores_what_links_from_elsewhere_carry(client: TestClient) -> None:
    for path in ("/", "/models", "/models/reds", "/explore", "/compare"):
        assert client.get(f"{path}?utm_source=mail").status_code == 200, path
