"""Style × concept samplers: one artist's drawings of one family of things, freely arranged.

``draw`` is the entry point that the manifest names.
"""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

from benchmarks.zoo.compose import compose
from benchmarks.zoo.glyphs import load_glyphs


def draw(
    count: int,
    seed: int,
    *,
    style: str,
    concept: str,
    renders: str,
    layout: str = "single",
    backdrop: str = "plain",
    palette: str = "any",
) -> list[Image.Image]:
    """``count`` RGB pictures of 128 × 128 pixels; picture i depends on the options, the seed and i alone.

    Args:
        count: how many.
        seed: at least 0.
        style: whose drawings, a key of ``ARTISTS``.
        concept: of what, a key of ``FAMILIES``.
        renders: the folder where rasterised drawings are kept.
        layout, backdrop, palette: how they are arranged, see ``compose``.

    Raises:
        InvalidInput: an option has no such value.
        MissingDependency: the drawings are not installed and nothing is kept in ``renders``.
    """
    glyphs = load_glyphs(renders, style, concept)
    # Without the options in it, picture i of every sampler would have the same colour and the same composition.
    salt = zlib.crc32(f"{style} {concept} {layout} {backdrop} {palette}".encode())
    return [
        compose(glyphs, np.random.default_rng((salt, seed, index)), layout=layout, backdrop=backdrop, palette=palette)
        for index in range(count)
    ]
