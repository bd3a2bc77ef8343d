"""Drawings made on the spot, so that most of the zoo is tested without npm's packages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.zoo.glyphs import GLYPH_SIZE, NODE_MODULES

HAS_NODE = shutil.which("node") is not None and (NODE_MODULES / ".package-lock.json").is_file()
needs_node = pytest.mark.skipif(
    not HAS_NODE, reason="Node.js or its packages are missing: install Node.js 18, then run `make npm`"
)


@pytest.fixture(autouse=True)
def modules_stay() -> Iterator[None]:
    """Generators of a folder are read afresh, also those of this one: other tests keep the modules they have."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "benchmarks"}
    yield
    sys.modules.update(before)


@pytest.fixture(scope="session")
def glyphs() -> NDArray[np.uint8]:
    """``(4, 144, 144, 4)`` RGBA drawings: shapes of four colours on nothing."""
    drawn = []
    for number, colour in enumerate(("#d62828", "#0096c7", "#2a9d8f", "#e9c46a")):
        canvas = Image.new("RGBA", (GLYPH_SIZE, GLYPH_SIZE))
        pen = ImageDraw.Draw(canvas)
        (pen.ellipse if number % 2 else pen.rectangle)((20, 30, 124, 118), fill=colour)
        drawn.append(np.asarray(canvas))
    return np.stack(drawn)
