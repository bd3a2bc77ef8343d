"""An option that is of no use to a source is refused, never passed over: every kind of source with every option."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.config import Settings
from engine.errors import InvalidInput
from engine.samples import FolderSource, GeneratorSource, MomentsSource, open_source

SETTINGS = Settings()
OPTIONS: dict[str, Any] = {"samples": 7, "seed": 3, "as_one": True, "batch": 5}
TAKES = {
    "folder": {"as_one"},
    "zip": {"as_one"},
    "npy": set(),
    "features.npz": set(),
    "counted.npz": set(),
    "moments.npz": {"samples"},
    "onnx": {"samples", "seed", "batch"},
    "array": set(),
    "open folder": set(),
    "open moments": {"samples"},
    "callable": {"samples", "seed"},
    "scheme": {"samples", "seed"},
    "mapping": {"samples", "seed", "batch"},
}


def draw(count: int, seed: int) -> list[Image.Image]:
    return [Image.new("RGB", (4, 4))] * count


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.png").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.png", b"")
    rows, mean, covariance = np.ones((3, 2)), np.ones(2), np.eye(2)
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "features.npz", features=rows)
    np.savez(tmp_path / "moments.npz", mu=mean, sigma=covariance)
    np.savez(tmp_path / "counted.npz", mu=mean, sigma=covariance, n=40)
    (tmp_path / "a.onnx").write_bytes(b"read when it draws")
    files = {"folder": "folder", "zip": "a.zip", "npy": "a.npy", "onnx": "a.onnx"}
    files |= {name: name for name in ("features.npz", "moments.npz", "counted.npz")}
    return {
        **{kind: str(tmp_path / name) for kind, name in files.items()},
        "array": np.ones((3, 2), np.float32),
        "open folder": FolderSource(tmp_path / "folder"),
        "open moments": MomentsSource(mean, covariance),
        "callable": draw,
        "scheme": "diffusers:owner/model",
        "mapping": {"generator": {"type": "onnx", "path": str(tmp_path / "a.onnx")}},
    }


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", TAKES)
def test_used_or_refused(sources: dict[str, Any], kind: str, option: str) -> None:
    source, given = sources[kind], {option: OPTIONS[option]}
    if option == "batch":  # only a mapping says it
        if isinstance(source, str) and kind != "scheme":
            source = {"path": source}
        if not isinstance(source, dict):
            return
        source, given = {**source, "batch": 5}, {}
    if option in TAKES[kind]:
        opened = open_source(source, settings=SETTINGS, **given)
        if isinstance(opened, GeneratorSource):
            assert opened.describe()[option] == OPTIONS[option]
        elif isinstance(opened, MomentsSource):
            assert opened.samples == 7
        opened.close()
        return
    with pytest.raises(InvalidInput, match=option) as caught:
        open_source(source, settings=SETTINGS, **given)
    assert caught.value.hint


def test_a_count_that_agrees_with_the_file(sources: dict[str, Any]) -> None:
    opened = open_source(sources["counted.npz"], settings=SETTINGS, samples=40)
    assert isinstance(opened, MomentsSource)
    assert opened.samples == 40
    with pytest.raises(InvalidInput, match="of 40 samples, as their source says, not 7"):
        open_source(sources["counted.npz"], settings=SETTINGS, samples=7)


def test_a_mapping_is_overruled_also_by_zero(sources: dict[str, Any]) -> None:
    opened = open_source({**sources["mapping"], "seed": 5}, settings=SETTINGS, seed=0)
    assert opened.describe()["seed"] == 0


def test_as_one_is_yes_or_no(sources: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="true or false"):
        open_source({"path": sources["folder"], "as_one": "no"}, settings=SETTINGS)
