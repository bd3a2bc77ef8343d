"""Concepts to pictures by several artists, and the augmented views that training sees."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.compact.captions import Concept, read_json, slug
from benchmarks.compact.sketches import image_to_canny, image_to_xdog

ARTISTS = ("noto", "noto-v1", "fluent-emoji", "fluent-emoji-flat", "twemoji", "fxemoji", "emojione")
GLYPHS = "fluent-emoji-high-contrast"
"""Line glyphs that training never sees. Their maker's colour emoji are trained on: the maker is not unseen."""
MAKERS = {
    "noto": "Google", "noto-v1": "Google", "fluent-emoji": "Microsoft", "fluent-emoji-flat": "Microsoft",
    "fluent-emoji-high-contrast": "Microsoft", "twemoji": "Twitter", "fxemoji": "Mozilla", "emojione": "Emoji One",
}  # fmt: skip
"""Sets by one maker share designs, so they are not another artist's to each other."""
RENDER = 160
SIZE = 128
VIEWS = ("plain", "colour", "colour", "colour", "canny", "xdog", "lines")
"""What is made of every picture. ``plain`` is the picture on white; the others are drawn at random."""


def artist_drawings(artist: str) -> dict[str, str]:
    """An artist's SVG documents, by slug."""
    collection = read_json("@iconify-json", artist, "icons.json")
    bodies = {name: icon["body"] for name, icon in collection["icons"].items()}
    for alias, target in collection.get("aliases", {}).items():
        if target["parent"] in bodies:
            bodies[alias] = bodies[target["parent"]]
    width, height = collection.get("width", 16), collection.get("height", 16)
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" color="black">'
    )
    return {slug(name): f"{head}{body}</svg>" for name, body in bodies.items()}


def svg_to_image(svg: str) -> Image.Image:
    """An SVG document to a transparent picture of at most 160 pixels."""
    import resvg_py

    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RENDER, height=RENDER))
    return Image.open(io.BytesIO(data)).convert("RGBA")


def render_artist(artist: str, concepts: list[Concept]) -> Iterator[tuple[int, Image.Image]]:
    """(concept index, RGBA picture) for every concept that the artist drew and that is not blank."""
    drawings = artist_drawings(artist)
    for index, concept in enumerate(concepts):
        svg = drawings.get(concept.slug)
        if svg is None:
            continue
        picture = svg_to_image(svg)
        if np.asarray(picture)[..., 3].mean() > 4:
            yield index, picture


def on_background(
    picture: Image.Image, colour: tuple[int, int, int], scale: float, shift: tuple[float, float]
) -> Image.Image:
    """The drawing on a square of one colour, scaled to a share of its side and shifted by shares of the free room."""
    side = max(8, round(SIZE * scale))
    small = picture.resize((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIZE, SIZE), colour)
    free = SIZE - side
    place = (round(free * (0.5 + shift[0] / 2)), round(free * (0.5 + shift[1] / 2)))
    canvas.paste(small, place, small)
    return canvas


def picture_to_view(picture: Image.Image, view: str, random: np.random.Generator) -> Image.Image:
    """One view of a transparent drawing, RGB 128 × 128."""
    white = (255, 255, 255)
    if view == "plain":
        return on_background(picture, white, 0.95, (0, 0))
    scale, shift = random.uniform(0.5, 1.0), tuple(random.uniform(-1, 1, 2))
    turned = picture.rotate(random.uniform(-20, 20), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        turned = ImageOps.mirror(turned)
    if view == "colour":
        light = random.random() < 0.7
        colour = tuple(int(c) for c in random.integers(150 if light else 0, 256, 3))
        image = on_background(turned, colour if random.random() < 0.75 else white, scale, shift)
        if random.random() < 0.4:
            image = ImageEnhance.Color(image).enhance(random.uniform(0, 1.6))
        return image
    image = on_background(turned, white, max(scale, 0.7), shift)
    if view == "canny":
        return image_to_canny(image, sigma=random.uniform(0.8, 2.0), width=int(random.integers(1, 4)))
    if view == "xdog":
        return image_to_xdog(image, sigma=random.uniform(0.6, 1.4))
    silhouette = ImageOps.autocontrast(image.convert("L"))
    dark = silhouette.point(lambda value: 255 if value > 110 else 0)
    return (dark if random.random() < 0.5 else silhouette).convert("RGB")
