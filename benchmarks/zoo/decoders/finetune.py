"""Single-picture fine-tunes: one base diffusion model of a concept, adapted to variations of one drawing each.

The papers' *synthetic zoo* is made of such customised models. The base is trained once; a fine-tune continues its
training for some hundred steps on pictures of the one drawing, a few of the family's among them, so
that it keeps a little of the family (rehearsal).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.zoo.decoders.diffusion import Base, train
from benchmarks.zoo.decoders.spectrum import pictures_to_codes, seeded

ADAPTED_FOR = 800
REHEARSED = 0.02


def base_to_finetune(base: Base, pictures: NDArray[np.float32], seed: int, steps: int = ADAPTED_FOR) -> bytes:
    """A base adapted to variations of one drawing ``(n, 3, 64, 64)``: an ONNX decoder from ``z`` ``(n, 64)``."""
    with seeded(seed):
        denoiser = copy.deepcopy(base.denoiser)
        codes = pictures_to_codes(pictures, base.spectrum)
        kept = base.spectrum.codes[torch.randperm(len(base.spectrum.codes))[: round(REHEARSED * len(codes))]]
        train(denoiser, torch.cat([codes, kept]), steps)
        return Base(denoiser, base.spectrum).to_onnx()
