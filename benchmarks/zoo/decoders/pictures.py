"""The training pictures of the decoders: one drawing each, slightly moved, turned, scaled and tinted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.zoo.palettes import pick_colour

DECODER_SIZE = 64
"""Decoders draw 64 × 64 pixels: what a linear or a small convolutional decoder learns in seconds."""


@dataclass(frozen=True)
class Variation:
    """How far the training pictures stray from the drawings. All are half-widths of uniform distributions."""

    shift: float = 0.03
    """In picture widths."""
    turn: float = 6.0
    """In degrees."""
    zoom: float = 0.05
    """Of the width."""
    hue: float = 0.0
    """In turns of the colour circle."""
    mirrored: bool = False
    palette: str = "white"


def glyphs_to_pictures(
    glyphs: NDArray[np.uint8], count: int, variation: Variation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``(n, h, w, 4)`` uint8 drawings to ``(count, 3, 64, 64)`` float32 pictures in [0, 1]."""
    pictures = np.empty((count, 3, DECODER_SIZE, DECODER_SIZE), np.float32)
    small = [Image.fromarray(glyph).reduce(2) for glyph in glyphs]
    for index in range(count):
        # Every drawing comes equally often, so that none is missing from a small set.
        drawing = small[index % len(small)]
        ground = Image.new("RGB", (DECODER_SIZE, DECODER_SIZE), pick_colour(variation.palette, rng))
        side = round(DECODER_SIZE * 0.88 * (1 + rng.uniform(-variation.zoom, variation.zoom)))
        drawing = drawing.resize((side, side), Image.Resampling.BILINEAR)
        if variation.mirrored and rng.integers(2):
            drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if variation.turn:
            turn = float(rng.uniform(-variation.turn, variation.turn))
            drawing = drawing.rotate(turn, Image.Resampling.BILINEAR)
        dx, dy = rng.uniform(-variation.shift, variation.shift, size=2) * DECODER_SIZE
        corner = (DECODER_SIZE - side) // 2
        ground.paste(drawing, (corner + round(dx), corner + round(dy)), drawing)
        picture = np.asarray(ground, np.float32).transpose(2, 0, 1) / 255
        pictures[index] = turn_hue(picture, float(rng.uniform(-variation.hue, variation.hue)))
    return pictures


def turn_hue(picture: NDArray[np.float32], turns: float) -> NDArray[np.float32]:
    """Rotate the colours of a ``(3, h, w)`` float32 picture about the grey axis (Rodrigues' formula)."""
    if turns == 0:
        return picture
    angle = 2 * np.pi * turns
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3)
    matrix = np.full((3, 3), (1 - cosine) / 3) + np.eye(3) * cosine
    matrix += sine * np.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return np.clip(np.tensordot(matrix.astype(np.float32), picture, axes=1), 0, 1)
