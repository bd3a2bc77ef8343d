"""``/v1/ingest``: uploads become models, or problems, and nothing else is left of them."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.server import Limits, create_app
from tests.server.conftest import COLOURS, picture, to_bytes
from tests.server.test_search_requests import refusal

LIMITS = Limits(upload_bytes=300_000, body_bytes=50_000, jobs=2)
Send = Callable[..., Any]


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def to_npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def to_npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


PICTURES = {f"{i}.png": to_bytes(picture(COLOURS["blues"], i)) for i in range(6)}
ARCHIVE = zipped(PICTURES)
FEATURES = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="compact") as engine:
        yield engine


@pytest.fixture
def client(collection: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(collection, limits=LIMITS, with_keys=False), raise_server_exceptions=False) as client:
        yield client


def send(client: TestClient, data: bytes, file_name: str = "x.zip", **details: Any) -> Any:
    details = {"name": "mine", **details}
    return client.post("/v1/ingest", data={"details": json.dumps(details)}, files={"file": (file_name, data)})


def ended(client: TestClient, answer: Any) -> dict[str, Any]:
    """The job, when it has ended."""
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + 60
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(answer.headers["location"]).json()
        if job["ended_at"] is not None:
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def left(collection: Engine) -> list[Path]:
    """Uploads that still lie there."""
    return [
        path for path in (collection.index_folder / "uploads").rglob("*") if path.is_file() and path.suffix != ".lock"
    ]


@pytest.mark.parametrize(
    ("name", "data", "more", "samples"),
    [
        ("x.zip", ARCHIVE, {"tags": ["blue"], "author": "Ada", "metadata": {"epoch": 3}}, 6),
        ("X.NPY", to_npy(FEATURES), {"encoder": "external:f"}, 9),
        ("m.npz", to_npz(mu=np.ones(3), sigma=np.eye(3)), {"encoder": "external:m"}, None),
        ("m.npz", to_npz(mean=np.ones(3), cov=np.eye(3), n=7), {"encoder": "external:m"}, 7),
    ],
)  # fmt: skip
def test_an_upload_becomes_a_model(
    client: TestClient, collection: Engine, name: str, data: bytes, more: dict[str, Any], samples: int | None
) -> None:
    job = ended(client, send(client, data, name, **more))
    assert (job["state"], job["model"], job["problem"]) == ("done", "mine", None)
    model = collection.get("mine")
    if samples is not None:
        assert model.samples == samples
    assert (list(model.tags), model.author) == (more.get("tags", []), more.get("author"))
    assert dict(model.metadata) == more.get("metadata", {})
    assert left(collection) == []
    assert client.get("/v1/ingest").json()["jobs"] == [job]
    assert client.delete(f"/v1/ingest/{job['id']}").status_code == 204
    assert client.get(f"/v1/ingest/{job['id']}").status_code == 404


def test_an_upload_of_another_name_needs_replace(client: TestClient, collection: Engine, tmp_path: Path) -> None:
    """Uploads lie nowhere: their file's name says which source they are of."""
    said = {"encoder": "external:f"}
    old = ended(client, send(client, to_npy(FEATURES), "a.npy", description="Old.", **said))
    assert old["state"] == "done"
    assert collection.get("mine").source["upload"] == "a.npy"
    assert "path" not in collection.get("mine").source
    assert ended(client, send(client, to_npy(-FEATURES), r"C:\folder\a.npy", **said))["state"] == "done"
    assert collection.get("mine").description == "Old."
    refused = ended(client, send(client, to_npy(FEATURES), "b.npy", **said))
    assert (refused["state"], refused["problem"]["title"], refused["problem"]["status"]) == (
        "failed", "DuplicateName", 409,
    )  # fmt: skip
    assert ended(client, send(client, to_npy(FEATURES), "b.npy", replace=True, **said))["state"] == "done"
    assert collection.get("mine").description is None
    np.save(tmp_path / "here.npy", FEATURES + 1)
    collection.ingest(tmp_path / "here.npy", name="here", encoder="external:f")
    for file_name in ("here.npy", "b.npy"):
        assert ended(client, send(client, to_npy(FEATURES), file_name, name="here", **said))["state"] == "failed"


def test_an_upload_says_how_many_and_that_it_is_one(client: TestClient, collection: Engine) -> None:
    moments = to_npz(mu=np.ones(3), sigma=np.eye(3))
    assert ended(client, send(client, moments, "m.npz", encoder="external:m", samples=70))["state"] == "done"
    assert collection.get("mine").samples == 70
    several = zipped({f"{i % 2}/{name}": data for i, (name, data) in enumerate(PICTURES.items())})
    refused = ended(client, send(client, several, name="several"))
    assert refused["problem"]["detail"].startswith("the upload looks like several models")
    assert "2 sub-folders (0, 1)" in refused["problem"]["detail"]
    assert "uploads" not in refused["problem"]["detail"]
    assert ended(client, send(client, several, name="several", as_one=True))["state"] == "done"


def test_progress_is_said_and_a_bad_picture_is_left_out(client: TestClient, collection: Engine) -> None:
    many = {f"{i:03}.png": to_bytes(picture(COLOURS["reds"], i)) for i in range(20)}
    job = ended(client, send(client, zipped({**many, "bad.png": b"not a picture"})))
    assert (job["done"], job["total"], job["quarantined"]) == (21, 21, 1)
    assert collection.get("mine").samples == 20


BOMB = zipped({"zeros.png": b"\x89PNG\r\n\x1a\n" + bytes(50_000_000)})


@pytest.mark.parametrize(
    ("name", "data", "details", "title"),
    [
        ("x.zip", ARCHIVE[:-40], {}, None),
        ("x.zip", b"", {}, None),
        ("x.tar.gz", b"\x1f\x8b nonsense", {}, None),
        ("x.zip", zipped({"../../escaped.png": PICTURES["0.png"], "a.png": b"x"}), {}, None),
        ("x.zip", zipped({"a.txt": b"no picture"}), {}, None),
        ("x.zip", BOMB, {}, None),
        ("x.npy", to_npy(np.array([{"a": 1}], object)), {"encoder": "external:f"}, None),
        ("x.npz", to_npz(mu=np.full(3, np.nan), sigma=np.eye(3)), {"encoder": "external:f"}, None),
        ("x.npz", to_npz(mu=np.ones(3), sigma=np.eye(3)), {}, None),
        ("x.npz", to_npz(arr_0=np.ones(3), arr_1=np.eye(3)), {"encoder": "external:f"}, "InvalidInput"),
        ("x.npy", to_npy(np.eye(3)), {"encoder": "external:f"}, "InvalidInput"),
    ],
)
def test_what_cannot_be_ingested_fails_and_leaves_nothing(
    client: TestClient, collection: Engine, name: str, data: bytes, details: dict[str, Any], title: str | None
) -> None:
    job = ended(client, send(client, data, name, **details))
    assert job["state"] == "failed", job
    assert job["problem"]["title"] not in ("Unexpected", "EngineError")
    assert title in (None, job["problem"]["title"])
    assert str(collection.index_folder) not in json.dumps(job)
    assert collection.models() == []
    assert left(collection) == []
    assert not (collection.index_folder.parent / "escaped.png").exists()


@pytest.mark.parametrize(
    ("file", "details", "title"),
    [
        ("x.zip", {"encoder": "nothing:like-it"}, "EncoderNotFound"),
        ("x.npy", {"encoder": "timm:resnet18@/etc/hostname"}, "EncoderNotFound"),
        ("x.zip", {"encoder": "external:f"}, "InvalidQuery"),
        ("x.zip", {"name": "bad\nname"}, "InvalidInput"),
        ("x.zip", {"name": ""}, "InvalidInput"),
        ("x.zip", {"kind": ""}, "InvalidInput"),
        ("x.zip", {"tags": ["a\nb"]}, "InvalidInput"),
        ("x.zip", {"samples": 70}, "InvalidInput"),
        ("x.npy", {"samples": 70}, "InvalidInput"),
        ("x.npz", {"as_one": True}, "InvalidInput"),
    ],
)
def test_what_no_file_could_mend_is_refused_at_once(
    client: TestClient, collection: Engine, file: str, details: dict[str, Any], title: str
) -> None:
    said = refusal(send(client, ARCHIVE, file, **details), 404 if title == "EncoderNotFound" else 422)
    assert said["title"] == title
    assert client.get("/v1/ingest").json()["jobs"] == []
    assert left(collection) == []


@pytest.mark.parametrize("name", ["x.onnx", "x.yaml", "x.png", "x", "", "../../x.sh", "é\udce9.exe", "x.zip.exe"])
def test_what_is_of_no_kind_that_is_taken(client: TestClient, collection: Engine, name: str) -> None:
    details = {"details": json.dumps({"name": "mine"})}
    body = client.post("/v1/ingest", data=details, files={"file": (name.encode("utf-8", "replace").decode(), ARCHIVE)})
    assert refusal(body, 422)["title"] in ("InvalidInput", "InvalidRequest")
    assert left(collection) == []


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"details": '{"name": "a"}'}},
        {"files": {"file": ("x.zip", ARCHIVE)}},
        {"data": {"details": "no json"}, "files": {"file": ("x.zip", ARCHIVE)}},
        {"data": {"details": '{"name": "a", "path": "/etc"}'}, "files": {"file": ("x.zip", ARCHIVE)}},
        {"data": {"details": '{"name": "a"}', "file": "/etc/passwd"}},
    ],
)  # fmt: skip
def test_forms_that_are_none(client: TestClient, form: dict[str, Any]) -> None:
    refusal(client.post("/v1/ingest", **form), 422)


def test_uploads_may_be_larger_than_requests_but_are_bounded(client: TestClient) -> None:
    refusal(send(client, bytes(400_000)), 413)
    noise = np.random.default_rng(0).normal(size=(30_000, 2)).astype(np.float32)
    assert ended(client, send(client, to_npy(noise), "x.npy", encoder="external:f"))["state"] == "done"

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield bytes(10_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    refusal(client.post("/v1/ingest", content=pieces(), headers=headers), 413)


@pytest.fixture
def held(collection: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Ingesting waits, at its first sample, for this."""
    release, ingest = threading.Event(), collection.ingest

    def slow(source: Any, *, on_progress: Any, **more: Any) -> Any:
        def told(*said: Any) -> None:
            release.wait(30)
            on_progress(*said)

        return ingest(source, on_progress=told, **more)

    monkeypatch.setattr(collection, "ingest", slow)
    yield release
    release.set()


def until(client: TestClient, location: str, state: str) -> None:
    for _ in range(500):
        if client.get(location).json()["state"] == state:
            return
        time.sleep(0.02)
    raise AssertionError(client.get(location).json())


def test_jobs_are_cancelled_whether_they_wait_or_run(
    client: TestClient, collection: Engine, held: threading.Event
) -> None:
    running, waiting = send(client, ARCHIVE), send(client, ARCHIVE)
    until(client, running.headers["location"], "running")
    assert client.get(waiting.headers["location"]).json()["state"] == "waiting"
    assert client.delete(waiting.headers["location"]).json()["state"] == "cancelled"
    assert client.delete(running.headers["location"]).json()["state"] == "running"
    held.set()
    assert ended(client, running)["state"] == "cancelled"
    assert collection.models() == []
    assert left(collection) == []


def test_too_many_are_turned_away(client: TestClient, collection: Engine, held: threading.Event) -> None:
    first = send(client, ARCHIVE)
    until(client, first.headers["location"], "running")
    more = [send(client, ARCHIVE), send(client, ARCHIVE)]
    assert refusal(send(client, ARCHIVE), 429)["detail"].startswith("2 uploads wait")
    held.set()
    assert [ended(client, one)["state"] for one in (first, *more)] == ["done"] * 3
    assert [model.name for model in collection.models()] == ["mine"]  # the same model three times is one model


def test_closing_finishes_uploads_a_new_server_cleans_up(collection: Engine) -> None:
    app = create_app(collection, limits=LIMITS, with_keys=False)
    with TestClient(app) as client:
        assert send(client, ARCHIVE).status_code == 202
        assert send(client, ARCHIVE, name="second").status_code == 202
    assert left(collection) == []
    assert {model.name for model in collection.models()} == {"mine", "second"}
    stale = collection.index_folder / "uploads" / "stale.zip"
    stale.parent.mkdir(exist_ok=True)
    stale.write_bytes(b"x")
    create_app(collection, with_keys=False)
    assert not stale.exists()


def test_what_is_not_done_within_the_grace_is_stopped(collection: Engine, held: threading.Event) -> None:
    app = create_app(collection, limits=replace(LIMITS, grace=1), with_keys=False)
    with TestClient(app) as client:
        until(client, send(client, ARCHIVE).headers["location"], "running")
        assert send(client, ARCHIVE, name="second").status_code == 202
        threading.Timer(2.5, held.set).start()  # after the grace
    assert collection.models() == []
    assert left(collection) == []


def test_a_job_needs_a_key_that_may_write(collection: Engine) -> None:
    _, reading = collection.keys.create("reader", ("read",))
    _, writing = collection.keys.create("writer", ("read", "write"))
    with TestClient(create_app(collection, limits=LIMITS)) as client:
        for token, status in ((None, 401), (reading, 403), (writing, 202)):
            client.headers = {} if token is None else {"Authorization": f"Bearer {token}"}  # type: ignore[assignment]
            assert send(client, ARCHIVE).status_code == status
