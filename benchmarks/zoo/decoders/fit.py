"""Which function fits a decoder of each kind."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.zoo.catalogue import Entry
from benchmarks.zoo.decoders.diffusion import Base, pictures_to_base
from benchmarks.zoo.decoders.finetune import base_to_finetune
from benchmarks.zoo.decoders.pictures import Variation, glyphs_to_pictures
from benchmarks.zoo.glyphs import draw_labels, load_glyphs

TRAINING_PICTURES = 600
VARIATION = Variation(hue=0.04, mirrored=True, palette="paper")
TUNING_PICTURES = 200
TUNING = Variation(zoom=0.06, turn=5, shift=0.02, hue=0.08, mirrored=True, palette="paper")
KINDS = {
    "vae": "pictures_to_vae",
    "gan": "pictures_to_gan",
    "diffusion": "pictures_to_diffusion",
    "autoregressive": "pictures_to_autoregressive",
}
"""Kinds whose module is called as they are, and the function in it: (pictures, seed) → ONNX bytes."""


@threadpool_limits.wrap(limits=1)  # sums in another order would be other bytes on another number of cores
def fit_decoder(entry: Entry, renders: str) -> bytes:
    """Fit one decoder on its artist's drawings of its concept; an ONNX file's bytes."""
    seed = zlib.crc32(entry.name.encode())
    style, concept = str(entry.options["style"]), str(entry.options["concept"])
    rng = np.random.default_rng(seed)
    if entry.kind == "finetune":
        label = str(entry.options["label"])
        drawing = draw_labels(style, [label], label)[:1]
        return base_to_finetune(
            _base(renders, style, concept), glyphs_to_pictures(drawing, TUNING_PICTURES, TUNING, rng), seed
        )
    pictures = glyphs_to_pictures(load_glyphs(renders, style, concept), TRAINING_PICTURES, VARIATION, rng)
    if entry.kind == "pca":
        from benchmarks.zoo.decoders.pca import pictures_to_pca

        return pictures_to_pca(pictures)
    module = importlib.import_module(f"benchmarks.zoo.decoders.{entry.kind}")
    function: Callable[[NDArray[np.float32], int], bytes] = getattr(module, KINDS[entry.kind])
    return function(pictures, seed)


@lru_cache(maxsize=8)
def _base(renders: str, style: str, concept: str) -> Base:
    """The base of a concept's fine-tunes, trained once a process."""
    seed = zlib.crc32(f"base {style} {concept}".encode())
    glyphs = load_glyphs(renders, style, concept)
    return pictures_to_base(glyphs_to_pictures(glyphs, TRAINING_PICTURES, VARIATION, np.random.default_rng(seed)), seed)
