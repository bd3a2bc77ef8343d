"""``engine serve`` and ``engine keys`` as their user meets them: a process, a socket, a signal."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from engine import Engine
from engine.cli import app
from engine.cli.serve import is_loopback


def invoke(*arguments: str) -> tuple[int, str, str]:
    """``engine ARGUMENTS`` in this process."""
    result = CliRunner().invoke(app, list(arguments), prog_name="engine")
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def serving(url: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process, and its address."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--database", url, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            found = re.search(r"running on (http://\S+)", line)
            if found:
                yield process, found[1]
                break
        else:
            raise AssertionError("".join(seen))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def url(tmp_path) -> str:
    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["a", "b", "c"], np.eye(3), encoder="external:mine", samples=5)
    return url


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(url: str, number: signal.Signals) -> None:
    with serving(url) as (process, address):
        answer = httpx.post(f"{address}/v1/search", json={"vector": [0.0, 1.0, 0.0], "k": 1})
        assert [hit["name"] for hit in answer.json()["hits"]] == ["b"]
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
    with Engine.open(url) as engine:
        assert {one["snapshot"] for one in engine.index_status()} == {"current"}  # it was closed, not cut off


def test_keys_are_asked_for_where_others_can_reach_it(url: str) -> None:
    code, _, error = invoke("serve", "--host", "0.0.0.0", "--database", url)
    assert (code, "--allow-host" in error) == (1, True)
    for name in ("https://zoo.example.org", "zoo.example.org:8000", "*", "zoo/", ""):
        code, _, error = invoke("serve", "--host", "0.0.0.0", "--allow-host", name, "--database", url)
        assert (code, "not a host name" in error) == (1, True), name
    code, _, error = invoke("serve", "--host", "0.0.0.0", "--auth", "off", "--database", url)
    assert (code, "loopback alone" in error) == (1, True)
    code, _, error = invoke("serve", "--host", "0.0.0.0", "--allow-host", "zoo.example.org", "--database", url)
    assert code == 1
    assert "no API keys" in error
    assert "engine keys create" in error
    code, token, note = invoke("keys", "create", "laptop", "--scope", "read", "--database", url)
    assert code == 0
    assert "laptop" in note
    with serving(url, "--auth", "keys") as (_, address):
        assert httpx.get(f"{address}/v1/models").status_code == 401
        headers = {"Authorization": f"Bearer {token.strip()}"}
        assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 200
        assert httpx.delete(f"{address}/v1/models/a", headers=headers).status_code == 403


def test_keys_are_listed_and_revoked(url: str) -> None:
    made = json.loads(invoke("keys", "create", "robot", "--scope", "write", "--json", "--database", url)[1])
    listed = invoke("keys", "list", "--database", url)[1]
    assert made["key"]["id"] in listed
    assert made["token"] not in listed
    assert invoke("keys", "revoke", made["key"]["id"], "--database", url)[0] == 0
    assert json.loads(invoke("keys", "list", "--json", "--database", url)[1])["keys"] == []
    code, _, error = invoke("keys", "revoke", made["key"]["id"], "--database", url)
    assert (code, "no key" in error) == (1, True)


@pytest.mark.parametrize(
    ("host", "answer"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.3.2.1", True), ("0.0.0.0", False),
     ("192.168.1.4", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, answer: bool) -> None:
    assert is_loopback(host) == answer


@pytest.mark.skipif(os.name == "nt", reason="streams are closed in another way there")
def test_serving_without_streams(url: str) -> None:
    """A service may be started with nothing open: it serves, and ends when it is told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = 'exec "$0" -m engine serve --port "$1" --database "$2" <&- >&- 2>&-'
    with subprocess.Popen(["sh", "-c", command, sys.executable, str(port), url]) as process:
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    assert httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
                    break
                except httpx.TransportError:
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
