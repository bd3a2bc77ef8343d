"""The page's session: a random token in place of the key, ended by signing out or by revoking its key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request

from engine import Engine
from engine.server import create_app, sessions
from engine.server.callers import session_token
from engine.server.sessions import COOKIE, Sessions
from tests.server.conftest import LIMITS

TEXT = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def browser(own: Engine) -> Iterator[TestClient]:
    app = create_app(own, limits=LIMITS)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def sign_in(browser: TestClient, token: str) -> int:
    return browser.post("/login", data={"key": token, "after": "/models"}).status_code


def test_a_session_is_a_token_of_its_own(own: Engine, browser: TestClient) -> None:
    _, token = own.keys.create("reader", ["read"])
    assert browser.get("/").headers["location"].startswith("/login")
    assert sign_in(browser, "ek_no") == 401
    answer = browser.post("/login", data={"key": token, "after": "/models"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/models")
    said = answer.headers["set-cookie"]
    assert token not in said
    assert "HttpOnly" in said
    assert "SameSite=strict" in said
    shown = browser.get("/models")
    assert shown.status_code == 200
    assert "Sign out" in shown.text
    assert token not in shown.text


@pytest.mark.parametrize("origin", ["https://testserver", "http://testserver"])
def test_behind_an_https_proxy_the_cookie_is_for_https_alone(own: Engine, browser: TestClient, origin: str) -> None:
    _, token = own.keys.create("reader", ["read"])
    answer = browser.post("/login", data={"key": token, "after": "/"}, headers={"origin": origin})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert (cookie.startswith("__Host-"), "Secure" in cookie) == ((True, True) if origin[4] == "s" else (False, False))
    name, _, value = cookie.partition(";")[0].partition("=")
    browser.cookies.clear()
    headers = {"cookie": f"{name}={value}"}
    assert browser.get("/models", headers=headers).status_code == 200
    assert browser.post("/logout", headers=headers).status_code == 303
    assert browser.get("/models", headers=headers).status_code == 303


def test_a_quoted_cookie_takes_no_time(browser: TestClient) -> None:
    """Python's own reading of cookies takes half a minute for such a one, and no key is asked for before."""
    started = time.monotonic()
    header = f'{COOKIE}="' + "\\1" * 30_000 + '"'
    assert browser.get("/v1/models", headers={"cookie": header}).status_code == 401
    assert time.monotonic() - started < 2


def test_cookies_of_others_stand_beside_ours() -> None:
    scope = {"type": "http", "headers": [(b"cookie", b"a=1; x; engine_session=t1"), (b"cookie", b"b=2;c")]}
    assert session_token(Request(scope)) == "t1"
    scope["headers"].append((b"cookie", b"__Host-engine_session=t2; engine_session=" + b"x" * 200))
    assert session_token(Request(scope)) == "t2"
    assert session_token(Request({"type": "http", "headers": []})) is None


@pytest.mark.parametrize("asked", ["/models/a", "/model?name=..", "/models?sort=name", "/model?name=x%2Fy"])
def test_one_comes_back_to_where_one_was(browser: TestClient, asked: str) -> None:
    location = browser.get(asked).headers["location"]
    assert unquote(location.removeprefix("/login?after=")) == asked


def test_signing_out_ends_it(own: Engine, browser: TestClient) -> None:
    sign_in(browser, own.keys.create("reader", ["read"])[1])
    held = browser.cookies[COOKIE]
    assert browser.post("/logout").status_code == 303
    browser.cookies.set(COOKIE, held)
    assert browser.get("/models").status_code == 303


def test_revoking_the_key_ends_it(own: Engine, browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    key, token = own.keys.create("reader", ["read"])
    sign_in(browser, token)
    own.keys.revoke(key.id)
    monkeypatch.setattr("engine.server.key_table.FRESH", 0.0)
    assert browser.get("/models").status_code == 303


def test_it_reads_and_draws_and_no_more(own: Engine, browser: TestClient) -> None:
    sign_in(browser, own.keys.create("all", ["admin"])[1])
    assert browser.get("/v1/models").status_code == 200
    assert browser.post("/v1/models/a/samples", json={}).status_code == 404
    assert browser.delete("/v1/models/a").status_code == 403
    assert browser.post("/v1/ingest").status_code == 403


def test_a_key_that_may_not_read_opens_none(own: Engine, browser: TestClient) -> None:
    assert sign_in(browser, own.keys.create("feeder", ["write"])[1]) == 401


def test_a_long_sign_in_is_cut_off(browser: TestClient) -> None:
    answer = browser.post("/login", content=b"key=" + b"k" * 10_000, headers=TEXT)
    assert answer.status_code == 413


def test_they_are_few_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    monkeypatch.setattr(sessions, "MOST", 3)
    held = Sessions()
    tokens = [held.begin(f"k{i}") for i in range(4)]
    assert [held.key_id(token) for token in tokens] == [None, "k1", "k2", "k3"]
    now = sessions.IDLE - 1
    assert held.key_id(tokens[1]) == "k1"
    now = sessions.IDLE + 1
    assert [held.key_id(token) for token in tokens] == [None, "k1", None, None]
    while now < sessions.LONGEST:
        now += sessions.IDLE - 1
        held.key_id(tokens[1])
    assert held.key_id(tokens[1]) is None


def test_one_key_ends_no_sessions_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 5)
    monkeypatch.setattr(sessions, "OF_ONE_KEY", 2)
    held = Sessions()
    other = held.begin("other")
    tokens = [held.begin("key") for _ in range(20)]
    assert held.key_id(other) == "other"
    assert [held.key_id(token) for token in tokens] == [None] * 18 + ["key"] * 2
