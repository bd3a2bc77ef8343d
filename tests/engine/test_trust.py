"""Trust stays on the machine where it was given: nothing that a collection, an archive or a manifest holds gives it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine import Engine
from engine.config import Settings
from engine.errors import NotTrusted, SourceNotFound, StorageError
from engine.samples.trust import CODE, Grant, Grants, content_digest, named, named_files, record_digest
from engine.server import create_app
from tests.samples.test_generator_onnx import linear
from tests.storage.test_copying import execute

PROGRAM = """
import sys
from PIL import Image
seed, count, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for i in range(count):
    Image.new("RGB", (8, 8), ((seed + i) % 256, 0, 0)).save(f"{out}/{i:04d}.png")
"""
COMMAND = [sys.executable, "draw.py", "{seed}", "{count}", "{out}"]


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """This machine."""
    return Settings(trust_file=str(tmp_path / "here" / "trusted.jsonl"))


@pytest.fixture
def brought(tmp_path: Path, here: Settings) -> Iterator[Engine]:
    """A collection that was imported from an archive of a stranger's, whose models name all kinds of generators."""
    stranger = f"sqlite:///{tmp_path / 'stranger.db'}"
    place = tmp_path / "programs"
    place.mkdir()
    (place / "draw.py").write_text(PROGRAM)
    linear(place / "decoder.onnx")
    records = {
        "touch": {"type": "program", "command": ["sh", "-c", f"touch {tmp_path}/X; : {{seed}} {{count}} {{out}}"]},
        "draw": {"type": "program", "command": COMMAND, "folder": str(place)},
        "module": {"type": "python", "entry": "brought_along:draw", "path": str(place)},
        "decoder": {"type": "onnx", "path": str(place / "decoder.onnx")},
        "hub": {"type": "diffusers", "model": "somebody/model"},
        "odd": {"type": ["program"]},
        "live": {"type": "callable", "name": "gone"},
    }
    with Engine.open(stranger, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(list(records), np.eye(len(records), 8), encoder="external:mine", samples=9)
    for name, record in records.items():
        said = json.dumps(record).replace("'", "''")
        execute(stranger, f"UPDATE models SET generator = '{said}' WHERE name = '{name}'")
    (place / "brought_along.py").write_text(f"open({str(tmp_path / 'X')!r}, 'w')\ndef draw(count, seed): ...\n")
    with Engine.open(stranger) as engine:
        engine.export_archive(tmp_path / "brought.engine")
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, settings=here) as engine:
        engine.import_archive(tmp_path / "brought.engine")
        yield engine


def drawn(engine: Engine, name: str, *, trust: bool = True) -> Any:
    app = create_app(engine, with_keys=False, trust=trust)
    return TestClient(app, raise_server_exceptions=False).post(f"/v1/models/{name}/samples", json={"count": 2})


def test_what_an_archive_brings_is_not_run(brought: Engine, tmp_path: Path) -> None:
    for name in ("touch", "draw", "module"):
        for trust in (True, False):
            answer = drawn(brought, name, trust=trust)
            assert (answer.status_code, answer.json()["title"]) == (403, "NotTrusted")
            assert str(tmp_path) not in answer.text
        assert not brought.may_draw(brought.get(name))
        with pytest.raises(NotTrusted, match="not trusted on this machine") as caught:
            brought.draw(name)
        assert caught.value.hint is not None
        assert f"engine trust {name}" in caught.value.hint
    assert not (tmp_path / "X").exists()
    brought.trust_of("module")  # nor is it imported to be looked at
    assert not (tmp_path / "X").exists()


def test_what_an_archive_brings_is_not_opened(brought: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(named, "external_weights", opened)
    monkeypatch.setattr(named, "file_to_digest", opened)
    for name in ("decoder", "hub"):
        assert drawn(brought, name).status_code == 403
        assert not brought.may_draw(brought.get(name))
    assert drawn(brought, "odd").status_code == 422
    assert drawn(brought, "live").status_code == 500


def test_what_is_trusted_by_name_is_run_until_it_changes(brought: Engine, tmp_path: Path) -> None:
    brought.trust("draw")
    assert brought.may_draw(brought.get("draw"))
    assert not brought.may_draw(brought.get("draw"), code=False)
    assert drawn(brought, "draw").status_code == 200
    assert drawn(brought, "draw", trust=False).status_code == 403, "the server was not told to run code"
    assert len(brought.draw("draw", 2)) == 2
    assert drawn(brought, "touch").status_code == 403

    program = tmp_path / "programs" / "draw.py"
    program.write_text(PROGRAM + f"open({str(tmp_path / 'X')!r}, 'w')\n")
    answer = drawn(brought, "draw")
    assert (answer.status_code, answer.json()["title"]) == (403, "NotTrusted")
    assert "has changed" in answer.json()["detail"]
    assert not (tmp_path / "X").exists()
    assert brought.trust_of("draw").state == "changed"
    brought.trust("draw")
    assert drawn(brought, "draw").status_code == 200
    assert (tmp_path / "X").exists()

    assert brought.revoke_trust("draw") == 2
    assert drawn(brought, "draw").status_code == 403


def test_a_record_that_differs_is_another(brought: Engine) -> None:
    record = dict(brought.get("draw").generator or {})
    brought.trust("draw")
    for changed in (
        {"batch": 10**6}, {"folder": "/"}, {"timeout": 1e9}, {"command": [*COMMAND, "--all"]}, {"type": "python"},
    ):  # fmt: skip
        assert record_digest({**record, **changed}) != record_digest(record)


def test_trusted_decoders_are_drawn_from_without_code(brought: Engine, tmp_path: Path) -> None:
    brought.trust("decoder")
    assert drawn(brought, "decoder", trust=False).status_code == 200
    linear(tmp_path / "programs" / "decoder.onnx", shift=1.0)
    assert drawn(brought, "decoder", trust=False).status_code == 403
    (tmp_path / "programs" / "decoder.onnx").unlink()
    assert drawn(brought, "decoder", trust=False).status_code == 404
    with pytest.raises(SourceNotFound):
        brought.trust("decoder")


@pytest.fixture
def made(tmp_path: Path, here: Settings) -> Iterator[Engine]:
    """A collection of what was ingested here, with trust."""
    (tmp_path / "draw.py").write_text(PROGRAM)
    with Engine.open(f"sqlite:///{tmp_path / 'made.db'}", create=True, encoder="compact", settings=here) as engine:
        record = {"type": "program", "command": COMMAND, "folder": str(tmp_path)}
        engine.ingest({"generator": record, "samples": 4}, name="draw", trust=True)
        engine.ingest(linear(tmp_path / "decoder.onnx"), name="decoder", samples=4)
        yield engine


def test_what_was_ingested_here_is_drawn_from_here_alone(made: Engine, tmp_path: Path) -> None:
    assert drawn(made, "draw").status_code == 200
    assert drawn(made, "draw", trust=False).status_code == 403
    assert drawn(made, "decoder", trust=False).status_code == 200
    made.backup(tmp_path / "copy.db")
    with Engine.open(f"sqlite:///{tmp_path / 'copy.db'}", settings=made.settings) as copy:
        assert drawn(copy, "draw").status_code == 200, "by its digest, on the same machine"
    there = Settings(trust_file=str(tmp_path / "there" / "trusted.jsonl"))
    with Engine.open(f"sqlite:///{tmp_path / 'copy.db'}", settings=there) as copy:
        assert drawn(copy, "draw").status_code == 403
        assert drawn(copy, "decoder").status_code == 403
        assert len(copy.draw("draw", trust=True)) == 1, "whoever names it in that very call is not asked"
        assert drawn(copy, "draw").status_code == 403, "which was that once"
        (unchanged,) = copy.ingest_manifest(manifest(tmp_path, "  trust: true\n")).outcomes
        assert unchanged.error is not None
        assert drawn(copy, "draw").status_code == 403, "a manifest does not trust itself"
        copy.ingest_manifest(manifest(tmp_path, ""), trust=True)
        assert drawn(copy, "draw").status_code == 200, "ingesting it again here, with trust, does"


def manifest(folder: Path, more: str) -> Path:
    path = folder / "zoo.yaml"
    record = json.dumps({"type": "program", "command": COMMAND, "folder": str(folder)})
    path.write_text(f"models:\n- name: draw\n  generator: {record}\n  samples: 4\n{more}")
    return path


def test_the_page_offers_what_may_be_drawn(brought: Engine) -> None:
    def offers(name: str, *, trust: bool = True) -> bool:
        with TestClient(create_app(brought, with_keys=False, trust=trust)) as client:
            text = client.get(f"/models/{name}").text
        assert ('id="draw-more"' in text) != ("is not trusted on the server" in text)
        return 'id="draw-more"' in text

    assert not any(map(offers, ("touch", "decoder", "odd")))
    brought.trust("touch")
    brought.trust("decoder")
    assert offers("touch")
    assert offers("decoder", trust=False)
    assert not offers("touch", trust=False)


# --- the file


def grant(number: int = 0) -> Grant:
    return Grant(f"record {number}", f"digest {number}", CODE, "2024-05-01T12:00:00+00:00", "fox", "zoo")


def test_the_file_is_the_users_alone(made: Engine, tmp_path: Path) -> None:
    path = tmp_path / "here" / "trusted.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o666)
    assert drawn(made, "draw").status_code == 403, "anybody could have written it"
    with pytest.raises(StorageError, match="can be written by others"):
        made.trust("draw")
    path.chmod(0o600)
    assert drawn(made, "draw").status_code == 200


def test_damaged_lines_grant_nothing_and_cost_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "trusted.jsonl"
    grants = Grants(path)
    grants.add(grant(1))
    with path.open("ab") as stream:
        stream.write(b'\xff\x00\n[]\n{"record": 1}\n' + b"[" * 10_000 + b'\n{"record": "cut o')
    grants.add(grant(2))
    grants.add(grant(2))
    assert grants.all() == (grant(1), grant(2)) == Grants(path).all()
    assert grants.revoke({"record 1"}) == 1
    assert grants.all() == (grant(2),)
    assert path.read_bytes().count(b"\n") == 1
    assert Grants(None).all() == ()


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    def add(start: int) -> None:
        grants = Grants(tmp_path / "trusted.jsonl")
        for number in range(start, start + 10):
            grants.add(grant(number))

    threads = [threading.Thread(target=add, args=(start,)) for start in range(0, 40, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.record for one in Grants(tmp_path / "trusted.jsonl").all()} == {f"record {i}" for i in range(45)}


def test_a_home_beyond_writing_is_reported_and_ingest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    settings = Settings(trust_file=str(tmp_path / "file" / "trusted.jsonl"))
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="compact", settings=settings) as engine:
        engine.ingest(linear(tmp_path / "decoder.onnx"), name="decoder", samples=4)
        assert "not recorded" in caplog.text
        assert drawn(engine, "decoder").status_code == 403
        assert len(engine.draw("decoder", trust=True)) == 1
        with pytest.raises(StorageError, match="cannot be written"):
            engine.trust("decoder")


# --- what is named


def test_a_module_is_found_without_being_imported(tmp_path: Path) -> None:
    inner = tmp_path / "outer_p" / "inner"
    inner.mkdir(parents=True)
    for path in (tmp_path / "outer_p" / "__init__.py", inner / "__init__.py", inner / "mod.py"):
        path.write_text("raise SystemExit")
    record = {"type": "python", "entry": "outer_p.inner.mod:draw", "path": str(tmp_path)}
    assert [path.name for path in named_files(record)] == ["__init__.py", "__init__.py", "mod.py"]
    before = content_digest(record)
    (inner / "mod.py").write_text("raise SystemError")
    assert content_digest(record) != before
    assert named_files({"type": "python", "entry": "builtins:len"}) == []
    assert named_files({"type": "python", "entry": "json.decoder:x"})[-1].name == "decoder.py"
    with pytest.raises(SourceNotFound, match="no module"):
        named_files({"type": "python", "entry": "outer_p.inner.none:draw", "path": str(tmp_path)})


def test_what_a_program_names(tmp_path: Path) -> None:
    (tmp_path / "draw.py").touch()
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "draw.py", "pipe", "a\0b", "x" * 5000, "{seed}", "{count}", "{out}"]
    record = {"type": "program", "command": command, "folder": str(tmp_path)}
    assert named_files(record) == [tmp_path, Path(sys.executable), tmp_path / "draw.py"]
    for argument in ("exec ./draw.py {seed}", "x && python 'draw.py'>log", "--script=draw.py"):
        found = named_files({**record, "command": ["sh", "-c", argument]})
        assert [path.resolve() for path in found] == [tmp_path, tmp_path / "draw.py"], argument


def test_what_a_pipeline_names(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"0" * 10)
    Image.new("RGB", (8, 8)).save(tmp_path / "shown.png")
    record = {"type": "diffusers", "model": str(tmp_path)}
    assert [path.name for path in named_files(record)[1:]] == ["model.safetensors", "model_index.json"]
    assert named_files({"type": "diffusers", "model": "somebody/model"}) == []
    before = content_digest(record)
    (tmp_path / "model.safetensors").write_bytes(b"1" * 10)
    assert content_digest(record) != before
