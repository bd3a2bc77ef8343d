"""Captioned SVG drawings to RGBA rasters, kept in a folder so that each is rasterised once."""

from __future__ import annotations

import hashlib
import io
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.zoo.artists import ARTISTS, UNSEEN
from benchmarks.zoo.atomic import write_atomically
from benchmarks.zoo.families import family, family_to_labels
from engine.errors import InvalidInput, MissingDependency

NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
GLYPH_SIZE = 144
"""Rasters are this wide and high. Most are shown smaller, on pictures of 128 pixels."""

LEAST_INK = 0.02
"""Share of a raster that must be covered: a few old drawings come out blank."""


@lru_cache(maxsize=64)
def load_glyphs(renders: str, style: str, concept: str) -> NDArray[np.uint8]:
    """Every drawing of one concept family by one artist.

    Args:
        renders: folder of kept rasters; what is missing or out of date there is made first.
        style: a key of ``ARTISTS``.
        concept: a key of ``FAMILIES``.

    Returns:
        ``(n, 144, 144, 4)`` uint8 RGBA, in emojibase's order.

    Raises:
        InvalidInput: the style or the concept is unknown, or the artist drew nothing of it.
        MissingDependency: the rasters have to be made, and the drawings or resvg are not installed.
    """
    if style not in ARTISTS:
        raise InvalidInput(f"no style {style!r}", hint=f"choose one of {', '.join(ARTISTS)}")
    path = Path(renders) / f"{style}-{concept}.npz"
    recipe = _recipe(style, concept)
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["recipe"]) == recipe:
                return np.ascontiguousarray(kept["rasters"])
    rasters = draw_glyphs(style, concept)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rasters=rasters, recipe=np.array(recipe))
    write_atomically(path, buffer.getvalue())
    return rasters


def draw_glyphs(style: str, concept: str) -> NDArray[np.uint8]:
    """Rasterise one family by one artist: ``(n, 144, 144, 4)`` uint8 RGBA."""
    emoji = _read_json(NODE_MODULES / "emojibase-data" / "en" / "data.json")
    groups = _read_json(NODE_MODULES / "emojibase-data" / "meta" / "groups.json")
    return draw_labels(style, family_to_labels(family(concept), emoji, groups["subgroups"]), concept)


def draw_labels(style: str, labels: list[str], concept: str) -> NDArray[np.uint8]:
    """Rasterise the drawings of these labels that an artist made: ``(n, 144, 144, 4)`` uint8 RGBA.

    Raises:
        InvalidInput: there is none; ``concept`` names what was wanted.
    """
    drawings = _drawings(ARTISTS[style].package)
    slugs = (_slug(label) for label in labels)
    rasters = [svg_to_raster(drawings[slug]) for slug in slugs if slug in drawings]
    rasters = [raster for raster in rasters if raster[..., 3].mean() > LEAST_INK * 255]
    if not rasters:
        raise InvalidInput(f"{ARTISTS[style].author} drew nothing of {concept!r} in {style!r}")
    return np.stack(rasters)


def svg_to_raster(svg: str) -> NDArray[np.uint8]:
    """One SVG document to ``(144, 144, 4)`` uint8 RGBA, centred."""
    try:
        import resvg_py
    except ImportError as exc:
        raise MissingDependency("resvg-py is not installed", hint="pip install 'engine[dev]'") from exc
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=GLYPH_SIZE, height=GLYPH_SIZE))
    drawing = Image.open(io.BytesIO(png)).convert("RGBA")
    canvas = Image.new("RGBA", (GLYPH_SIZE, GLYPH_SIZE))
    canvas.paste(drawing, ((GLYPH_SIZE - drawing.width) // 2, (GLYPH_SIZE - drawing.height) // 2))
    return np.asarray(canvas)


def _recipe(style: str, concept: str) -> str:
    """What a kept raster depends on, as a short digest."""
    package = NODE_MODULES.parent / "package.json"
    version = _read_json(package)["dependencies"][f"@iconify-json/{ARTISTS[style].package}"]
    return hashlib.sha256(f"{family(concept)} {version} {GLYPH_SIZE}".encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _drawings(package: str) -> dict[str, str]:
    """An Iconify package to SVG documents by slug. One package at a time: the largest is 100 MB of JSON."""
    collection = _read_json(NODE_MODULES / "@iconify-json" / package / "icons.json")
    bodies = {name: icon["body"] for name, icon in collection["icons"].items()}
    for alias, target in collection.get("aliases", {}).items():
        if target["parent"] in bodies:
            bodies[alias] = bodies[target["parent"]]
    width, height = collection.get("width", 16), collection.get("height", 16)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {spaces} viewBox="0 0 {width} {height}">'
    found: dict[str, str] = {}
    for name, body in bodies.items():
        for slug in _slugs(name, package):
            found.setdefault(slug, f"{opening}{body}</svg>")
    return found


def _slugs(name: str, package: str) -> tuple[str, ...]:
    """The labels that a drawing's name stands for. Streamline numbers its variants and calls a fox a ``fox-face-1``."""
    if package != ARTISTS[UNSEEN].package:
        return (_slug(name),)
    plain = re.sub(r"-\d+$", "", name)
    return tuple(dict.fromkeys((_slug(plain), _slug(plain.removesuffix("-face")))))


def _slug(name: str) -> str:
    """``Cat Face`` and ``cat-face`` to ``catface``: artists spell one label in several ways."""
    return "".join(character for character in name.lower() if character.isascii() and character.isalnum())


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise MissingDependency(
            f"the drawings are not installed: {path.name} of {path.parent.name} is missing",
            hint="run `npm ci` in benchmarks/zoo/node",
        ) from exc
