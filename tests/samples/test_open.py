"""Whatever may be called a source is opened; whatever may not is refused with what is allowed."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.config import Settings
from engine.errors import EngineError, InvalidInput, InvalidManifest, NotTrusted, SourceNotFound
from engine.samples import (
    ArchiveSource,
    FeatureSource,
    FolderSource,
    GeneratorSource,
    MomentsSource,
    open_source,
    options_to_generator,
)

SETTINGS = Settings()


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    return stream.getvalue()


def black(count: int, seed: int) -> list[Image.Image]:
    return [Image.new("RGB", (4, 4))] * count


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png())
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("a.png", png())
    for name in ("shard-0.tar", "shard-1.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.add(tmp_path / "pictures" / "a.png", "a.png")
    np.save(tmp_path / "features.npy", np.ones((3, 2)))
    np.savez(tmp_path / "features.npz", features=np.ones((3, 2)))
    np.savez(tmp_path / "moments.npz", mu=np.ones(2), sigma=np.eye(2))
    (tmp_path / "decoder.onnx").write_bytes(b"read when it draws")
    (tmp_path / "archive.zip").rename(tmp_path / "an archive without a suffix")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pictures", FolderSource),
        ("an archive without a suffix", ArchiveSource),
        ("shard-0.tar", ArchiveSource),
        ("shard-{0..1}.tar", ArchiveSource),
        ("features.npy", FeatureSource),
        ("features.npz", FeatureSource),
        ("moments.npz", MomentsSource),
        ("decoder.onnx", GeneratorSource),
    ],
)
def test_paths(place: Path, name: str, kind: type[Any]) -> None:
    for source in (place / name, str(place / name), {"path": str(place / name)}):
        opened = open_source(source, settings=SETTINGS)
        assert isinstance(opened, kind)
        opened.close()
    relative = open_source(name, settings=SETTINGS, base=place)
    assert isinstance(relative, kind)
    relative.close()


def test_objects(place: Path) -> None:
    assert isinstance(open_source(np.ones((3, 2), np.float32), settings=SETTINGS), FeatureSource)
    for ready in (
        FolderSource(place / "pictures"), FeatureSource(np.ones((3, 2))), MomentsSource(np.ones(2), np.eye(2)),
    ):  # fmt: skip
        assert open_source(ready, settings=SETTINGS) is ready
    generator = options_to_generator({"type": "onnx", "path": str(place / "decoder.onnx")})
    opened = open_source(generator, settings=SETTINGS, samples=7, seed=3)
    assert isinstance(opened, GeneratorSource)
    assert (opened.count(), opened.describe()["seed"]) == (7, 3)
    assert isinstance(open_source(black, settings=SETTINGS), GeneratorSource)


def test_generators_draw_500_unless_told() -> None:
    assert open_source(black, settings=SETTINGS).count() == 500  # type: ignore[union-attr]


def test_mappings(place: Path) -> None:
    options = {"type": "onnx", "path": "decoder.onnx"}
    described = open_source(
        {"generator": options, "samples": 40, "seed": 5, "batch": 7}, settings=SETTINGS, base=place
    ).describe()
    assert (described["samples"], described["seed"], described["batch"]) == (40, 5, 7)
    overruled = open_source({"generator": options, "samples": 40}, settings=SETTINGS, base=place, samples=9)
    assert overruled.describe()["samples"] == 9


def test_schemes(place: Path) -> None:
    command = "program:draw {seed} {count} {out}"
    opened = open_source(command, settings=SETTINGS, base=place, trust=True, samples=2)
    assert opened.describe()["generator"]["command"] == ["draw", "{seed}", "{count}", "{out}"]
    opened = open_source("diffusers:owner/model", settings=SETTINGS)
    assert opened.describe()["generator"]["model"] == "owner/model"
    opened = open_source("python:engine.samples.generators:draw", settings=SETTINGS, trust=True)
    assert opened.describe()["generator"]["entry"] == "engine.samples.generators:draw"
    for text in (command, "python:os:system"):
        with pytest.raises(NotTrusted):
            open_source(text, settings=SETTINGS, base=place)


@pytest.mark.parametrize("name", ["absent", "absent.zip", "absent.npy", "absent.onnx", "shard-{0..2}.tar"])
def test_what_is_not_there(place: Path, name: str) -> None:
    with pytest.raises(SourceNotFound):
        open_source(place / name, settings=SETTINGS)


def test_files_that_are_no_source(place: Path) -> None:
    (place / "notes.txt").write_text("hello")
    with pytest.raises(InvalidInput, match="not a recognised source") as caught:
        open_source(place / "notes.txt", settings=SETTINGS)
    for allowed in ("folder", ".zip", ".npz", ".onnx", "python:", "program:", "diffusers:"):
        assert allowed in (caught.value.hint or "")
    with pytest.raises(InvalidInput, match="one picture") as caught:
        open_source(place / "pictures" / "a.png", settings=SETTINGS)
    assert "folder" in (caught.value.hint or "")
    os.mkfifo(place / "pipe.npy")
    with pytest.raises(InvalidInput, match="neither a folder nor a regular file"):
        open_source(place / "pipe.npy", settings=SETTINGS)
    (place / "loop").symlink_to("loop")
    with pytest.raises(SourceNotFound):
        open_source(place / "loop", settings=SETTINGS)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (3, "int is not a source"),
        (None, "NoneType is not a source"),
        ("", "not a path"),
        ("a\0b", "not a path"),
        ({}, "got nothing"),
        ({"path": "a", "generator": {}}, "either 'path' or 'generator'"),
        ({"path": "a", "speed": 3}, "got path, speed"),
        ({"path": 3}, "must be text"),
        ({"generator": {"type": "onnx"}}, "needs the option 'path'"),
        ({"generator": 3}, "a generator is a mapping"),
        ({"generator": {"type": "magic"}}, "no generator of type 'magic'"),
        ({"generator": {"type": ["x"]}}, "no generator of type"),
        ({"generator": {}}, "no generator of type None"),
        ({"generator": {"type": "diffusers", "model": "a/b"}, "samples": "many"}, "samples must be a whole number"),
        ({"generator": {"type": "diffusers", "model": "a/b"}, "batch": 0}, "batch must be a whole number"),
    ],
)
def test_what_is_no_source(source: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        open_source(source, settings=SETTINGS)


def test_unknown_types_name_the_known_ones() -> None:
    with pytest.raises(InvalidManifest) as caught:
        options_to_generator({"type": "magic"})
    assert caught.value.hint == "types are python, program, onnx, diffusers"


def test_limits_are_handed_down(place: Path) -> None:
    with pytest.raises(InvalidInput, match="more than the 47 allowed"):
        open_source(place / "features.npz", settings=Settings(max_archive_bytes=47))
    opened = open_source(place / "pictures", settings=Settings(max_pixels=15))
    assert isinstance(opened, FolderSource)
    with pytest.raises(InvalidInput, match="more than the 15 allowed"):
        next(opened.samples()).load()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["type", "path", "command", "entry", "model", "options", "batch", "range", "prompts", "folder"])
TYPES = st.sampled_from(["python", "program", "onnx", "diffusers", "callable"])


@given(st.dictionaries(KEYS, JSON, max_size=5), TYPES | JSON)
def test_any_options_give_a_generator_or_a_typed_error(options: dict[str, Any], kind: Any) -> None:
    try:
        generator = options_to_generator({**options, "type": kind}, trust=True)
    except EngineError:
        return
    assert generator.describe()["type"] == kind
