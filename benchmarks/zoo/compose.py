"""Drawings to one picture: how many, where, how large, turned how far, on what ground.

A layout is a list of placements drawn at random; a backdrop is the ground they lie on. Both are plain data and pure
functions of a random generator, so that a picture depends on its seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.zoo.palettes import Colour, pick_colour, shade
from engine.errors import InvalidInput

PICTURE_SIZE = 128


@dataclass(frozen=True)
class Placement:
    """One drawing on the picture: centre and width in picture widths, turn in degrees, and which drawing."""

    x: float
    y: float
    width: float
    turn: float
    glyph: int
    mirrored: bool


def compose(
    glyphs: NDArray[np.uint8], rng: np.random.Generator, *, layout: str, backdrop: str, palette: str
) -> Image.Image:
    """One random picture of 128 × 128 RGB pixels.

    Args:
        glyphs: ``(n, h, w, 4)`` uint8 RGBA drawings.
        rng: decides everything that is left open.
        layout: a key of ``LAYOUTS``.
        backdrop: a key of ``BACKDROPS``.
        palette: a key of ``PALETTES``, or ``any``.

    Raises:
        InvalidInput: the layout, the backdrop or the palette is unknown.
    """
    if layout not in LAYOUTS:
        raise InvalidInput(f"no layout {layout!r}", hint=f"choose one of {', '.join(LAYOUTS)}")
    if backdrop not in BACKDROPS:
        raise InvalidInput(f"no backdrop {backdrop!r}", hint=f"choose one of {', '.join(BACKDROPS)}")
    picture = BACKDROPS[backdrop](pick_colour(palette, rng), rng)
    for placement in LAYOUTS[layout](len(glyphs), rng):
        place(picture, glyphs[placement.glyph], placement)
    return picture


def place(picture: Image.Image, glyph: NDArray[np.uint8], placement: Placement) -> None:
    """Draw one RGBA drawing onto an RGB picture, in place."""
    drawing = Image.fromarray(glyph)
    if placement.mirrored:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = max(4, round(placement.width * picture.width))
    drawing = drawing.resize((side, side), Image.Resampling.BILINEAR)
    if placement.turn:
        drawing = drawing.rotate(placement.turn, Image.Resampling.BILINEAR, expand=True)
    left = round(placement.x * picture.width - drawing.width / 2)
    top = round(placement.y * picture.height - drawing.height / 2)
    picture.paste(drawing, (left, top), drawing)


def _single(count: int, rng: np.random.Generator) -> list[Placement]:
    return [_put(0.5, 0.5, rng, count, width=(0.62, 0.92), turn=15, wander=0.06)]


def _portrait(count: int, rng: np.random.Generator) -> list[Placement]:
    return [_put(0.5, 0.54, rng, count, width=(0.84, 0.98), turn=4, wander=0.02)]


def _closeup(count: int, rng: np.random.Generator) -> list[Placement]:
    return [_put(0.5, 0.5, rng, count, width=(1.15, 1.6), turn=20, wander=0.14)]


def _pair(count: int, rng: np.random.Generator) -> list[Placement]:
    return [_put(x, 0.52, rng, count, width=(0.42, 0.56), turn=12, wander=0.05) for x in (0.28, 0.72)]


def _scatter(count: int, rng: np.random.Generator) -> list[Placement]:
    """Three to six of different sizes, one to a cell of a jittered 3 × 3 grid."""
    cells = rng.permutation(9)[: int(rng.integers(3, 7))]
    return [
        _put((cell % 3 + 0.5) / 3, (cell // 3 + 0.5) / 3, rng, count, width=(0.28, 0.48), turn=35, wander=0.06)
        for cell in cells
    ]


def _wallpaper(count: int, rng: np.random.Generator) -> list[Placement]:
    """Two drawings that alternate over a regular grid of 3 × 3 or 4 × 4."""
    side = int(rng.integers(3, 5))
    motifs = rng.integers(count, size=2)
    turns = rng.uniform(-25, 25, size=2)
    return [
        Placement(
            (column + 0.5) / side, (row + 0.5) / side, 0.8 / side,
            float(turns[(row + column) % 2]), int(motifs[(row + column) % 2]), False,
        )
        for row in range(side)
        for column in range(side)
    ]  # fmt: skip


def _row(count: int, rng: np.random.Generator) -> list[Placement]:
    """Two or three side by side, standing on the lower half."""
    many = int(rng.integers(2, 4))
    return [
        _put((index + 0.5) / many, 0.6, rng, count, width=(0.75 / many, 0.98 / many), turn=4, wander=0.03)
        for index in range(many)
    ]


def _stack(count: int, rng: np.random.Generator) -> list[Placement]:
    """A heap: five to eight that overlap around the middle."""
    return [
        _put(0.5, 0.55, rng, count, width=(0.34, 0.5), turn=60, wander=0.26) for _ in range(int(rng.integers(5, 9)))
    ]


def _put(
    x: float, y: float, rng: np.random.Generator, count: int, *, width: tuple[float, float], turn: float, wander: float
) -> Placement:
    dx, dy = rng.uniform(-wander, wander, size=2)
    return Placement(
        x + float(dx), y + float(dy), float(rng.uniform(*width)), float(rng.uniform(-turn, turn)),
        int(rng.integers(count)), bool(rng.integers(2)),
    )  # fmt: skip


def _plain(colour: Colour, rng: np.random.Generator) -> Image.Image:
    return Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE), colour)


def _gradient(colour: Colour, rng: np.random.Generator) -> Image.Image:
    """From the colour at the top to a darker or lighter one at the bottom."""
    weight = np.linspace(0, 1, PICTURE_SIZE)[:, None, None]
    ends = np.asarray([colour, shade(colour, float(rng.uniform(0.6, 1.25)))], np.float64)
    column = ends[0] * (1 - weight) + ends[1] * weight
    return Image.fromarray(np.repeat(column.round().astype(np.uint8), PICTURE_SIZE, axis=1))


def _horizon(colour: Colour, rng: np.random.Generator) -> Image.Image:
    """Sky above, darker ground below."""
    picture = _plain(colour, rng)
    level = round(PICTURE_SIZE * rng.uniform(0.6, 0.75))
    ImageDraw.Draw(picture).rectangle((0, level, PICTURE_SIZE, PICTURE_SIZE), fill=shade(colour, 0.68))
    return picture


def _disc(colour: Colour, rng: np.random.Generator) -> Image.Image:
    """A round badge on white."""
    picture = Image.new("RGB", (PICTURE_SIZE * 2, PICTURE_SIZE * 2), "white")
    margin = round(PICTURE_SIZE * 2 * rng.uniform(0.02, 0.07))
    far = PICTURE_SIZE * 2 - margin
    ImageDraw.Draw(picture).ellipse((margin, margin, far, far), fill=colour)
    return picture.reduce(2)


def _dots(colour: Colour, rng: np.random.Generator) -> Image.Image:
    """Polka dots, a little lighter or darker than the ground."""
    picture = _plain(colour, rng)
    pen = ImageDraw.Draw(picture)
    step = int(rng.integers(12, 22))
    radius = step * 0.24
    ink = shade(colour, 1.1 if sum(colour) < 600 else 0.9)
    for row, y in enumerate(range(0, PICTURE_SIZE + step, step)):
        for x in range(-step, PICTURE_SIZE + step, step):
            centre = x + (step / 2 if row % 2 else 0)
            pen.ellipse((centre - radius, y - radius, centre + radius, y + radius), fill=ink)
    return picture


def _stripes(colour: Colour, rng: np.random.Generator) -> Image.Image:
    """Broad slanted stripes of two shades."""
    rows, columns = np.mgrid[:PICTURE_SIZE, :PICTURE_SIZE]
    angle = rng.uniform(0, np.pi)
    band = (rows * np.sin(angle) + columns * np.cos(angle)) / rng.uniform(9, 18)
    inks = np.asarray([colour, shade(colour, 0.88)], np.uint8)
    return Image.fromarray(inks[np.floor(band).astype(np.int64) % 2])


LAYOUTS: dict[str, Callable[[int, np.random.Generator], list[Placement]]] = {
    "single": _single,
    "portrait": _portrait,
    "closeup": _closeup,
    "pair": _pair,
    "scatter": _scatter,
    "wallpaper": _wallpaper,
    "row": _row,
    "stack": _stack,
}

BACKDROPS: dict[str, Callable[[Colour, np.random.Generator], Image.Image]] = {
    "plain": _plain,
    "gradient": _gradient,
    "horizon": _horizon,
    "disc": _disc,
    "dots": _dots,
    "stripes": _stripes,
}
