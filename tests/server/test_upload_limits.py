"""Uploads that would take much more than they are: a real server refuses them, by the limit's name, and stays small."""

from __future__ import annotations

import io
import json
import resource
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.server import Limits, create_app
from tests.samples.test_bounds import npy_head
from tests.server.test_jobs import ended, send, to_npy
from tests.server.test_pixels_at_once import ADDRESS_SPACE, resident
from tests.server.test_search_requests import refusal
from tests.server.test_serving import serving

GROWTH = 1.2e9
"""Bytes beyond the start. A model of 12,000 dimensions took 4.4e9, zipped zeros 6.2e9."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Its process and its address."""
    url = f"sqlite:///{tmp_path_factory.mktemp('uploads') / 'zoo.db'}"
    Engine.open(url, create=True, encoder="external:mine").close()
    with serving(url) as (process, address):
        resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        yield process.pid, address


def zipped_zeros(rows: int, columns: int, zeros: int = 2**20) -> bytes:
    """Features of such a shape, and so many bytes of them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", npy_head(f"({rows}, {columns})") + bytes(zeros))
    return stream.getvalue()


def upload(address: str, data: bytes, file: str, **details: Any) -> dict[str, Any]:
    """The job, when it has ended."""
    said = {"details": json.dumps({"name": "mine", "encoder": "external:e", **details})}
    answer = httpx.post(f"{address}/v1/ingest", data=said, files={"file": (file, data)}, timeout=60)
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + 60
    while time.monotonic() < until:
        job: dict[str, Any] = httpx.get(address + answer.headers["location"]).json()
        if job["ended_at"] is not None:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


@pytest.mark.parametrize(
    ("make", "file", "said"),
    [
        (lambda: to_npy(np.ones((2, 12_000), np.float16)), "a.npy", "12000 dimensions, more than the 4096 allowed"),
        (lambda: zipped_zeros(900_000, 768), "a.npz", "more than the 2147483648 allowed"),
        (lambda: zipped_zeros(2**20, 256), "a.npz", "1048576 samples, more than the 1000000"),
        (lambda: zipped_zeros(2**19, 512, 2**30), "a.npz", "feature row 0 is zero"),
    ],
)
def test_it_fails_quickly_and_takes_little(server: tuple[int, str], make: Any, file: str, said: str) -> None:
    pid, address = server
    data, start, began = make(), resident(pid, "VmRSS"), time.monotonic()
    job = upload(address, data, file)
    assert job["state"] == "failed"
    assert said in job["problem"]["detail"]
    assert time.monotonic() - began < 20
    assert resident(pid) - start < GROWTH


def test_as_many_dimensions_as_are_allowed(server: tuple[int, str]) -> None:
    """The largest model there can be stays within the same memory."""
    pid, address = server
    start, began = resident(pid, "VmRSS"), time.monotonic()
    rows = np.random.default_rng(0).normal(size=(40, 4096)).astype(np.float16)
    assert upload(address, to_npy(rows), "a.npy")["state"] == "done"
    assert time.monotonic() - began < 60
    assert resident(pid) - start < GROWTH


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="external:mine") as engine:
        yield engine


def test_moments_have_no_more_dimensions_than_uploads(collection: Engine) -> None:
    with TestClient(create_app(collection, limits=Limits(dimension=3), with_keys=False)) as client:
        body = {"encoder": "external:e", "mean": [1.0] * 4, "samples": 5}
        said = refusal(client.put("/v1/models/a", json=body), 422)
        assert said["title"] == "LimitExceeded"
        assert "3 dimensions, got 4" in said["detail"]
        assert client.put("/v1/models/a", json={**body, "mean": [1.0] * 3}).status_code == 200


def test_uploads_that_wait_are_bounded_together(collection: Engine) -> None:
    rows = to_npy(np.ones((3, 4), np.float32))
    with TestClient(create_app(collection, limits=Limits(uploads_bytes=len(rows)), with_keys=False)) as client:
        for _ in range(2):  # one that has ended counts no longer
            assert ended(client, send(client, rows, "a.npy", encoder="external:e"))["state"] == "done"
        said = refusal(send(client, rows + b"x", "a.npy", encoder="external:e"), 429)
        assert f"{len(rows)} bytes together" in said["detail"]
        assert ended(client, send(client, rows, "a.npy", encoder="external:e"))["state"] == "done"


def test_ingesting_ends_in_time(collection: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(10_000, 4)).astype(np.float32)
    with TestClient(create_app(collection, limits=Limits(upload_seconds=1), with_keys=False)) as client:
        ingest = collection.ingest

        def slow(*given: Any, on_progress: Any, **more: Any) -> Any:
            def told(*said: Any) -> None:
                time.sleep(0.6)
                on_progress(*said)

            return ingest(*given, on_progress=told, **more)

        monkeypatch.setattr(collection, "ingest", slow)
        job = ended(client, send(client, to_npy(rows), "a.npy", encoder="external:e"))
    assert (job["state"], job["problem"]["title"]) == ("failed", "IngestError")
    assert "may take 1 seconds; 8192 of 10000 samples" in job["problem"]["detail"]


def test_an_xz_is_not_unpacked(collection: Engine) -> None:
    with TestClient(create_app(collection, with_keys=False)) as client:
        said = refusal(send(client, b"\xfd7zXZ\x00" + bytes(100), "a.tar", encoder="external:e"), 422)
        assert said["title"] in ("InvalidInput", "InvalidQuery")
