"""Other people's generators, and the zoo built from them and from npm's drawings. Needs Node.js and its packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.zoo import build as builder
from benchmarks.zoo import glyphs as drawings
from benchmarks.zoo.catalogue import CATALOGUE, PROCEDURAL, Entry
from benchmarks.zoo.glyphs import GLYPH_SIZE, load_glyphs
from benchmarks.zoo.queries import DEMO, draw_fresh, picture_to_mark, seen_marks
from benchmarks.zoo.samplers import draw
from engine.errors import GeneratorError, InvalidInput, MissingDependency
from engine.samples import path_to_image
from engine.samples.manifest import ManifestEntry, read_manifest
from tests.zoo.conftest import needs_node

NODE = drawings.NODE_MODULES.parent
CHOSEN = ("rings", "twemoji-cats", "fluent-birds", "pca-twemoji-clocks")


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", "draw.mjs", *arguments], cwd=NODE, capture_output=True, text=True, check=False)


def pixels(folder: Path) -> list[bytes]:
    return [path_to_image(path).tobytes() for path in sorted(folder.glob("*.png"))]


@needs_node
def test_pictures_depend_on_style_seed_and_place_alone(tmp_path: Path) -> None:
    for out, seed, count in (("a", "5", "3"), ("b", "5", "2"), ("c", "6", "3")):
        said = run_node("--style", "adventurer", "--seed", seed, "--count", count, "--out", str(tmp_path / out))
        assert said.returncode == 0, said.stderr
    first = pixels(tmp_path / "a")
    assert first[:2] == pixels(tmp_path / "b")
    assert len(set(first + pixels(tmp_path / "c"))) == 6
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert path_to_image(tmp_path / "a" / "00000.png").size == (128, 128)


@needs_node
@pytest.mark.parametrize("entry", PROCEDURAL, ids=lambda entry: entry.name)
def test_every_procedural_model_draws_something(entry: Entry, tmp_path: Path) -> None:
    said = run_node(
        "--style", entry.options["style"], "--seed", "1", "--count", "2", "--size", "64", "--out", str(tmp_path)
    )
    assert said.returncode == 0, said.stderr
    first, second = (np.asarray(path_to_image(path).convert("L")) for path in sorted(tmp_path.iterdir()))
    assert first.shape == (64, 64)
    assert first.std() > 2
    assert (first != second).any()


@needs_node
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--style", "cubism", "--out", "x"), "no style 'cubism'; there are adventurer"),
        (("--style", "rings"), "--out FOLDER is missing"),
        (("--style", "rings", "--out", "x", "--count", "0"), "--count must be a whole number >= 1, got 0"),
        (("--style", "rings", "--out", "x", "--seed", "1.5"), "--seed must be a whole number >= 0, got 1.5"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, ...], said: str) -> None:
    answer = run_node(*arguments)
    assert answer.returncode == 2
    assert said in answer.stderr


@needs_node
def test_rasters_are_kept_and_a_damaged_recipe_is_made_again(tmp_path: Path) -> None:
    first = load_glyphs(str(tmp_path), "twemoji", "cat-faces")
    assert first.shape == (10, GLYPH_SIZE, GLYPH_SIZE, 4)
    kept = tmp_path / "twemoji-cat-faces.npz"
    written = kept.stat().st_mtime_ns
    load_glyphs.cache_clear()
    np.testing.assert_array_equal(load_glyphs(str(tmp_path), "twemoji", "cat-faces"), first)
    assert kept.stat().st_mtime_ns == written
    np.savez(kept, rasters=first[:1], recipe=np.array("of another time"))
    load_glyphs.cache_clear()
    np.testing.assert_array_equal(load_glyphs(str(tmp_path), "twemoji", "cat-faces"), first)


@needs_node
def test_a_sampler_is_deterministic_and_its_options_matter(tmp_path: Path) -> None:
    def marks(seed: int, count: int = 4, **options: str) -> list[bytes]:
        chosen = {"style": "twemoji", "concept": "cat-faces", "renders": str(tmp_path), **options}
        return [picture_to_mark(image) for image in draw(count, seed, **chosen)]

    first = marks(1)
    assert len(set(first)) == 4
    assert marks(1, count=6)[:4] == first
    others = [
        marks(2),
        marks(1, style="noto"),
        marks(1, layout="closeup"),
        marks(1, palette="sea"),
        marks(1, backdrop="dots"),
    ]
    assert all(set(first).isdisjoint(other) for other in others)


@needs_node
@pytest.mark.parametrize(("style", "concept"), [("crayon", "birds"), ("noto", "unicorns"), ("fxemoji", "cat-faces")])
def test_what_nobody_drew_is_refused(style: str, concept: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        draw(1, 0, style=style, concept=concept, renders=str(tmp_path))


@needs_node
def test_a_zoo_is_built_once_and_its_queries_are_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tuple(entry for entry in CATALOGUE if entry.name in CHOSEN)
    monkeypatch.setattr(builder, "CATALOGUE", chosen)
    manifest = builder.build(tmp_path, samples=40)
    entries = read_manifest(manifest)
    assert [entry.name for entry in entries if isinstance(entry, ManifestEntry)] == [entry.name for entry in chosen]

    lines = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    listed: list[dict[str, Any]] = builder.yaml.safe_load(manifest.read_text())["models"]
    for model in listed:
        assert model["author"]
        assert model["license"] in {"MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0"}
        own = [line for line in lines if line["model"] == model["name"]]
        shown = [path_to_image(tmp_path / line["image"]) for line in own if "image" in line]
        traced = [path_to_image(tmp_path / line["sketch"]) for line in own if "sketch" in line]
        assert (len(shown), len(traced), sum("text" in line for line in own)) == (DEMO.images, DEMO.sketches, 1)
        asked = {picture_to_mark(image) for image in shown}
        assert len(asked) == DEMO.images
        assert asked.isdisjoint(seen_marks(model, tmp_path))

    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.png")}
    (tmp_path / "queries" / ".rings.stamp").unlink()  # as if the run had been killed while it drew this model
    next(tmp_path.glob("queries/rings-3.png")).unlink()
    builder.build(tmp_path, samples=40)
    for path, (written, data) in before.items():
        assert path.read_bytes() == data
        assert "rings" in path.name or path.stat().st_mtime_ns == written


def test_a_generator_that_has_nothing_new_is_an_error(tmp_path: Path) -> None:
    """Queries of a model that always draws the same picture would be copies of its samples."""
    (tmp_path / "same.py").write_text(
        "import sys\n"
        "from PIL import Image\n"
        "for i in range(int(sys.argv[1])):\n"
        "    Image.new('RGB', (4, 4)).save(f'{sys.argv[2]}/{i:05d}.png')\n"
    )
    command = [sys.executable, "same.py", "{count}", "{out}", "{seed}"]
    listed = {
        "name": "same",
        "generator": {"type": "program", "command": command, "folder": "."},
        "samples": 3,
        "seed": 0,
    }
    with pytest.raises(GeneratorError, match="only 0 pictures that are new"):
        draw_fresh(listed, tmp_path, DEMO)


def test_a_missing_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.shutil, "which", lambda program: None)
    with pytest.raises(MissingDependency, match="node is not installed") as caught:
        builder.check_node()
    assert "Node.js 18" in str(caught.value.hint)


def test_missing_drawings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "NODE_MODULES", tmp_path / "node_modules")
    drawings._drawings.cache_clear()
    with pytest.raises(MissingDependency, match="drawings are not installed") as caught:
        drawings.draw_glyphs("noto", "birds")
    assert "npm ci" in str(caught.value.hint)
