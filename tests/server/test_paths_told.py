"""Where anything lies on the server is told to admins alone; no path in a request is looked at."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.errors import CorruptData, DatabaseNotFound, DiskFull, EngineError, InvalidInput, StorageError
from engine.records import EncoderIdentity
from engine.server import create_app
from engine.server.problems import error_to_problem
from tests.samples.test_generator_onnx import linear
from tests.server.conftest import COLOURS, LIMITS, picture, to_bytes
from tests.server.test_jobs import ended, send, zipped

ENCODERS = (
    "timm:resnet18@/etc/hostname", "timm:resnet18@/no/such/file", "timm:resnet18@/root/.ssh/id", "timm:resnet18@/",
    "open_clip:ViT-B-32/laion2b", "hf-hub:somebody/something", "/etc/passwd", "compact@../x", "external:",
    "external:a\0b",
    "efficientnet", "ViT-B-32",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a home with blanks")
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as engine:
        (folder / "reds").mkdir()
        for i in range(3):
            picture(COLOURS["reds"], i).save(folder / "reds" / f"{i}.png")
        engine.ingest(folder / "reds")
        engine.ingest(linear(folder / "decoder.onnx"), name="decoder", samples=4)
        engine.ingest(np.eye(256, dtype=np.float32)[:9], name="rows")
    return folder


@pytest.fixture
def readers(home: Path) -> Iterator[tuple[TestClient, dict[str, str], dict[str, str]]]:
    """A client, a reader's and writer's headers, and an admin's."""
    with Engine.open(f"sqlite:///{home / 'zoo.db'}") as engine:
        tokens = [engine.keys.create("x", scopes)[1] for scopes in (["read", "write", "draw"], ["admin"])]
        headers = [{"Authorization": f"Bearer {token}"} for token in tokens]
        with TestClient(create_app(engine, limits=LIMITS), raise_server_exceptions=False) as client:
            yield client, headers[0], headers[1]


def test_readers_see_what_a_source_is(readers: Any, home: Path) -> None:
    client, reader, admin = readers
    for path in ("/v1/models", "/v1/models/reds", "/v1/models/decoder", "/models/reds", "/models/decoder", "/"):
        assert str(home) not in client.get(path, headers=reader).text, path
    said = client.get("/v1/models/reds", headers=reader).json()
    assert said["source"] == {"type": "folder", "files": 3}
    assert client.get("/v1/models/decoder", headers=reader).json()["generator"] == {"type": "onnx"}
    whole = client.get("/v1/models/reds", headers=admin).json()
    assert whole["source"]["path"] == str(home / "reds")
    assert str(home) not in client.patch("/v1/models/decoder", json={"kind": "gan"}, headers=reader).text


def test_faults_do_not_say_where(readers: Any, home: Path) -> None:
    client, reader, _ = readers
    (home / "decoder.onnx").rename(home / "moved.onnx")
    try:
        answers = [client.post("/v1/models/decoder/samples", json={"count": 1}, headers=reader)]
    finally:
        (home / "moved.onnx").rename(home / "decoder.onnx")
    with sqlite3.connect(home / "zoo.db") as connection:
        connection.execute("ALTER TABLE models RENAME TO away")
    try:
        for method, path in (("GET", "/v1/models"), ("GET", "/v1/models/reds"), ("GET", "/")):
            answers.append(client.request(method, path, headers=reader))
    finally:
        with sqlite3.connect(home / "zoo.db") as connection:
            connection.execute("ALTER TABLE away RENAME TO models")
        connection.close()
    client.headers.update(reader)
    answers.append(client.post("/v1/ingest", data={"details": "{}"}, files={"file": ("x.zip", b"no")}))
    for answer in answers:
        assert answer.status_code >= 400, answer.text
        assert str(home) not in answer.text
    said = ended(client, send(client, zipped({"a.png": b"no picture"}), name="broken"))
    assert str(home) not in str(said)


@pytest.mark.parametrize("folder", ["pictures", "uploads"])
def test_folders_that_cannot_be_written(tmp_path: Path, folder: str) -> None:
    home = tmp_path / "two words"
    home.mkdir()
    with Engine.open(f"sqlite:///{home / 'zoo.db'}", create=True, encoder="external:mine") as engine:
        headers = {"Authorization": f"Bearer {engine.keys.create('x', ['read', 'write'])[1]}"}
        client = TestClient(create_app(engine, limits=LIMITS), raise_server_exceptions=False)
        shutil.rmtree(engine.index_folder / folder, ignore_errors=True)
        engine.index_folder.mkdir(exist_ok=True)
        (engine.index_folder / folder).write_text("in the way")
        file = {"picture": ("a.png", to_bytes(picture(COLOURS["reds"], 1)))}
        for accepted in ("application/json", "text/html"):
            kept = client.post("/pictures", files=file, headers={**headers, "accept": accepted})
            assert "words" not in kept.text, kept.text
            assert (kept.status_code >= 500) == (folder == "pictures")
        sent = {"details": json.dumps({"name": "u"})}
        taken = client.post("/v1/ingest", data=sent, files={"file": ("a.npy", b"x")}, headers=headers)
        assert "words" not in taken.text, taken.text
        assert (taken.status_code >= 500) == (folder == "uploads")


@pytest.mark.parametrize("folder", ["", "demo/", "two words/", "zoo/"])
def test_a_collection_at_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir(exist_ok=True)
    with Engine.open(f"sqlite:///{folder}zoo.db", create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["sd-1.5", "demo-x"], np.eye(2), encoder="external:mine", samples=5)
        headers = {"Authorization": f"Bearer {engine.keys.create('x', ['read'])[1]}"}
        client = TestClient(create_app(engine, limits=LIMITS), raise_server_exceptions=False)
        for name in ("sd-1.6", "demo-y", "zoo", "/a/model/of/ours", "demo/x"):
            said = client.get(f"/v1/models/{name}", headers=headers).json()
            assert said["detail"] == f"there is no model named {name!r}"
        with engine.services.database.write() as session:
            session.connection().exec_driver_sql("ALTER TABLE models RENAME TO away")
        for place in engine.places:
            message = f"{place} cannot be read, nor can {place}/x.npy: sqlite:///{place}"
            said = error_to_problem(StorageError(message), roots=engine.places)
            if len(place) > 5:  # not "." or "demo"
                assert "zoo.db" not in str(said), (place, said)
                assert str(tmp_path) not in str(said)
        for path in ("/v1/models", "/models", "/", "/explore.json", "/compare?model=x", "/models/x", "/v1/models/x"):
            answer = client.get(path, headers=headers)
            assert answer.status_code >= 500, path
            assert "zoo.db" not in answer.text, (path, answer.text)
    assert "no such table" in caplog.text  # the log has all of it


@pytest.mark.parametrize("kind", [CorruptData, DatabaseNotFound, DiskFull, StorageError, InvalidInput])
def test_no_message_has_a_path(kind: type[EngineError]) -> None:
    messages = (
        "there is no database at /srv/zoo/zoo.db", "sqlite:////srv/zoo/zoo.db: disk I/O error",
        "[Errno 2] '/srv/zoo/a b.npy'",
        "postgresql+psycopg://ada@db.internal:5432/zoo: refused", "/srv/zoo/x.onnx: cannot be read", "(/srv/zoo/x)",
    )  # fmt: skip
    for message in messages:
        said = str(error_to_problem(kind(message, hint=message)))
        assert "srv" not in said, said
        assert "internal" not in said, said
        assert "srv" in error_to_problem(kind(message), whole=True)["detail"] or "internal" in message
    assert error_to_problem(kind("there is no model named 'hf/sd-1'"))["detail"] == "there is no model named 'hf/sd-1'"


def test_encoders_are_named_without_their_folder(own: Engine) -> None:
    name = "timm:resnet18@/srv/weights/w.pt"
    own.services.catalog.register_encoder(EncoderIdentity(name, "f" * 64, 3, 100.0, frozenset({"image"})))
    own.ingest_statistics(["a", "b"], np.eye(3)[:2], encoder=name, samples=5)
    headers = [{"Authorization": f"Bearer {own.keys.create('x', [scope])[1]}"} for scope in ("read", "admin")]
    shown = "timm:resnet18@w.pt"
    with TestClient(create_app(own, limits=LIMITS), raise_server_exceptions=False) as client:
        naming = ("/v1/encoders", "/v1/models", "/v1/models/a", "/models/a")
        for path in (*naming, "/v1/models/a/similar", "/explore.json"):
            said = client.get(path, headers=headers[0]).text
            assert "/srv" not in said, (path, said)
            assert (shown in said) == (path in naming), (path, said)
        for path in naming[:3]:
            assert name in client.get(path, headers=headers[1]).text
        for given in (shown, name):
            query = {"vector": [1.0, 0.0, 0.0], "encoder": given, "k": 1}
            found = client.post("/v1/search", json=query, headers=headers[0])
            assert [hit["name"] for hit in found.json()["hits"]] == ["a"]
        text = client.post("/v1/search", json={"text": "x", "encoder": shown}, headers=headers[0])
        assert text.status_code >= 400
        assert "/srv" not in text.text


def test_no_encoder_of_a_request_is_opened(readers: Any) -> None:
    client, reader, admin = readers
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("open", "os.listdir", "os.scandir", "socket.connect"):
            opened.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    answers: dict[str, set[tuple[int, bytes]]] = {}
    upload = ("x.zip", zipped({"a.png": to_bytes(picture(COLOURS["reds"], 1))}))
    for headers in (reader, admin):
        for name in ENCODERS:
            moments = {"encoder": name, "mean": [0.6, 0.8], "samples": 5}
            details = json.dumps({"name": "x", "encoder": name})
            for what, said in {
                "put": client.put("/v1/models/x", json=moments, headers=headers),
                "search": client.post("/v1/search", json={"text": "a", "encoder": name}, headers=headers),
                "vector": client.post("/v1/search", json={"vector": [1.0], "encoder": name}, headers=headers),
                "similar": client.get("/v1/models/reds/similar", params={"encoder": name}, headers=headers),
                "compare": client.get("/compare", params={"model": "reds", "encoder": name}, headers=headers),
                "ingest": client.post("/v1/ingest", data={"details": details}, files={"file": upload}, headers=headers),
            }.items():  # fmt: skip
                assert said.status_code == 404, (what, name, said.text)
                answers.setdefault(what, set()).add((said.status_code, said.content))
    watching = False
    assert {what: len(found) for what, found in answers.items()} == dict.fromkeys(answers, 1)
    for path in ("hostname", "no/such", ".ssh", "passwd", "socket"):
        assert not [one for one in opened if path in one]
