"""Single-picture fine-tunes: one base diffusion model of a concept, adapted to variations of one drawing each.

The papers' *synthetic zoo* is made of such customised models. The base is trained once; a fine-tune continues its
training for some hundred steps on pictures of the one drawing, a few of the family's among them, so
that it keeps a little of the family (rehearsal).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.zoo.decoders.diffusion import COMPONENTS, STEPS, Denoiser, Sampler, train
from benchmarks.zoo.decoders.spectrum import (
    Spectrum,
    ToPixels,
    decoder_to_onnx,
    pictures_to_codes,
    pictures_to_spectrum,
    seeded,
)

ADAPTED_FOR = 800
REHEARSED = 0.02


@dataclass(frozen=True, eq=False)
class Base:
    """A diffusion model of a concept, and the spectrum it works in."""

    denoiser: Denoiser
    spectrum: Spectrum


def pictures_to_base(pictures: NDArray[np.float32], seed: int, steps: int = STEPS) -> Base:
    """Pictures of a whole concept ``(n, 3, 64, 64)`` float32 in [0, 1] to a base model."""
    with seeded(seed):
        spectrum = pictures_to_spectrum(pictures, COMPONENTS)
        denoiser = Denoiser()
        train(denoiser, spectrum.codes, steps, rate=1e-3)
        return Base(denoiser, spectrum)


def base_to_finetune(base: Base, pictures: NDArray[np.float32], seed: int, steps: int = ADAPTED_FOR) -> bytes:
    """A base adapted to variations of one drawing ``(n, 3, 64, 64)``: an ONNX decoder from ``z`` ``(n, 64)``."""
    with seeded(seed):
        denoiser = copy.deepcopy(base.denoiser)
        codes = pictures_to_codes(pictures, base.spectrum)
        kept = base.spectrum.codes[torch.randperm(len(base.spectrum.codes))[: round(REHEARSED * len(codes))]]
        train(denoiser, torch.cat([codes, kept]), steps, rate=1e-3)
        return decoder_to_onnx(ToPixels(Sampler(denoiser), base.spectrum), COMPONENTS)
