"""Which descriptions name the same source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.records import Origin
from engine.storage.sources import is_same, origin_to_text

FOLDER = Origin({"type": "folder", "path": "/data/birds", "files": 3, "digest": "a"})
PROGRAM: dict[str, Any] = {"command": ["d"], "folder": "/f"}
DRAWN = {"type": "generator", "samples": 500, "seed": 0, "batch": 32}


def at(path: str, kind: str = "archive") -> Origin:
    return Origin({"type": kind, "path": path})


def drawn(kind: str, **record: Any) -> Origin:
    return Origin(DRAWN, {"type": kind, **record})


SAME = {
    "a changed folder": (FOLDER, Origin({"type": "folder", "path": "/data/birds", "files": 9, "digest": "b"})),
    "a path with detours": (FOLDER, at("/data/x/../birds", "folder")),
    "a folder that was moved": (FOLDER, Origin({"type": "folder", "path": "/other", "digest": "a"})),
    "more shards": (at("/d/s-{000..010}.tar"), at("/d/s-{000..200}.tar")),
    "more samples": (drawn("onnx", path="/g"), Origin({**DRAWN, "samples": 9}, {"type": "onnx", "path": "/g"})),
    "a truncation": (drawn("onnx", path="/g.onnx", truncation=0.7), drawn("onnx", path="/g.onnx")),
    "a time limit": (drawn("program", **PROGRAM), drawn("program", **PROGRAM, timeout=3)),
    "no options": (drawn("python", entry="a:b", options={}), drawn("python", entry="a:b")),
    "steps": (drawn("diffusers", model="a/b", prompts=["x"]), drawn("diffusers", model="a/b", prompts=["x"], steps=3)),
    "an upload again": (Origin({"type": "archive", "upload": "b.zip"}), Origin({"type": "archive", "upload": "b.zip"})),
    "arrays": (Origin({"type": "features", "rows": 3}), Origin({"type": "moments"})),
    "callables": (drawn("callable", name="f"), drawn("callable", name="g")),
    "what says nothing": (Origin({}), Origin({"type": "features"})),
}  # fmt: skip
OTHER = {
    "another folder": (FOLDER, at("/data2/birds", "folder")),
    "an archive of that name": (FOLDER, at("/data/birds.zip")),
    "an array": (FOLDER, Origin({"type": "features", "rows": 3})),
    "an upload": (FOLDER, Origin({"type": "archive", "upload": "birds.zip"})),
    "another upload": (Origin({"upload": "a.zip"}), Origin({"upload": "b.zip"})),
    "another decoder": (drawn("onnx", path="/g.onnx"), drawn("onnx", path="/h.onnx")),
    "another command": (drawn("program", **PROGRAM), drawn("program", command=["e"], folder="/f")),
    "another folder of it": (drawn("program", **PROGRAM), drawn("program", **{**PROGRAM, "folder": "/g"})),
    "another entry": (drawn("python", entry="a:b"), drawn("python", entry="a:c")),
    "other options": (drawn("python", entry="a:b", options={"s": 1}), drawn("python", entry="a:b", options={"s": 2})),
    "other prompts": (drawn("diffusers", model="a/b", prompts=["x"]), drawn("diffusers", model="a/b", prompts=["y"])),
    "another type": (drawn("program", **PROGRAM), drawn("python", entry="d")),
}  # fmt: skip


@pytest.mark.parametrize("which", SAME)
def test_the_same_source(which: str) -> None:
    one, other = SAME[which]
    assert is_same(one, other)
    assert is_same(other, one)


@pytest.mark.parametrize("which", OTHER)
def test_another_source(which: str) -> None:
    one, other = OTHER[which]
    assert not is_same(one, other)
    assert not is_same(other, one)
    assert origin_to_text(one), "a message can name it"


def test_a_link_names_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "birds.zip").write_bytes(b"x")
    (tmp_path / "latest.zip").symlink_to(tmp_path / "birds.zip")
    assert is_same(at(str(tmp_path / "birds.zip")), at(str(tmp_path / "latest.zip")))
