"""Background colours of the samplers, as data. ``any`` draws a fresh colour every time."""

from __future__ import annotations

import colorsys

import numpy as np

from engine.errors import InvalidInput

Colour = tuple[int, int, int]

PALETTES: dict[str, tuple[str, ...]] = {
    "white": ("#ffffff",),
    "paper": ("#faf6ec", "#f4ecd8", "#fffdf7", "#efe6d2"),
    "pastel": ("#ffd1dc", "#d6eaf8", "#d5f5e3", "#fcf3cf", "#e8daef", "#fde3cf"),
    "candy": ("#ff6f91", "#ffc75f", "#845ec2", "#00c9a7", "#f9f871", "#ff9671"),
    "night": ("#0b1026", "#1b1f3b", "#14213d", "#22223b", "#10002b"),
    "meadow": ("#b7e4c7", "#95d5b2", "#d8f3dc", "#e9f5c9", "#c7e9b0"),
    "sea": ("#caf0f8", "#90e0ef", "#48cae4", "#0096c7", "#ade8f4"),
    "asphalt": ("#adb5bd", "#868e96", "#ced4da", "#dee2e6", "#6c757d"),
    "earth": ("#e6ccb2", "#ddb892", "#b08968", "#ede0d4", "#cdb79e"),
    "sunset": ("#ffb4a2", "#e5989b", "#ffcdb2", "#f4a261", "#e76f51"),
    "slate": ("#34495e", "#2c3e50", "#415a77", "#3d405b", "#4a4e69"),
}


def pick_colour(palette: str, rng: np.random.Generator) -> Colour:
    """One colour of a palette, or any fairly light colour for ``any``.

    Raises:
        InvalidInput: there is no such palette.
    """
    if palette == "any":
        hue, saturation, value = rng.random(), rng.uniform(0.15, 0.65), rng.uniform(0.75, 1.0)
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        return round(red * 255), round(green * 255), round(blue * 255)
    if palette not in PALETTES:
        raise InvalidInput(f"no palette {palette!r}", hint=f"choose one of any, {', '.join(PALETTES)}")
    colours = PALETTES[palette]
    text = colours[int(rng.integers(len(colours)))]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue
