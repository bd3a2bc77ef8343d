"""Denoising diffusion models in the space of principal components, sampled in a few deterministic steps.

A small network learns to predict the noise that was added (Ho et al. 2020, cosine schedule of Nichol & Dhariwal 2021);
DDIM's steps (Song et al. 2021) are unrolled into the graph, so that one latent gives one picture in one call.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.decoders.spectrum import Spectrum, ToPixels, decoder_to_onnx, mlp, pictures_to_spectrum, seeded

COMPONENTS = 64
HIDDEN = 384
FREQUENCIES = 16
STEPS = 3000
BATCH = 192
SAMPLING_STEPS = 12
RATE = 1e-3


def alpha_bar(time: Tensor) -> Tensor:
    """The share of the signal's variance that is left at ``time`` in [0, 1]."""
    return torch.cos((time + 0.008) / 1.008 * math.pi / 2).square().clamp(1e-4, 1.0)


class Denoiser(nn.Module):
    """Noisy codes ``(n, c)`` and times ``(n, 1)`` to the noise in them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, math.log(200.0), FREQUENCIES)))
        self.layers = mlp(COMPONENTS + 2 * FREQUENCIES, HIDDEN, HIDDEN, HIDDEN, COMPONENTS)

    def forward(self, codes: Tensor, time: Tensor) -> Tensor:
        angles = time * self.frequencies
        found: Tensor = self.layers(torch.cat([codes, angles.sin(), angles.cos()], dim=1))
        return found


class Sampler(nn.Module):
    """Noise ``z`` ``(n, c)`` to codes by DDIM with η = 0."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, z: Tensor) -> Tensor:
        times = torch.linspace(1.0, 0.0, SAMPLING_STEPS + 1)
        for now, then in itertools.pairwise(times):
            a, b = float(alpha_bar(now)), float(alpha_bar(then))
            noise = self.denoiser(z, z[:, :1] * 0 + now)
            clean = ((z - math.sqrt(1 - a) * noise) / math.sqrt(a)).clamp(-4, 4)
            z = math.sqrt(b) * clean + math.sqrt(1 - b) * noise
        return z


@dataclass(frozen=True, eq=False)
class Base:
    """A diffusion model of a concept, and the spectrum it works in."""

    denoiser: Denoiser
    spectrum: Spectrum

    def to_onnx(self) -> bytes:
        """Its decoder from ``z`` ``(n, 64)`` to pictures."""
        return decoder_to_onnx(ToPixels(Sampler(self.denoiser), self.spectrum), COMPONENTS)


def pictures_to_base(pictures: NDArray[np.float32], seed: int, steps: int = STEPS) -> Base:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to a model of them."""
    with seeded(seed):
        spectrum = pictures_to_spectrum(pictures, COMPONENTS)
        denoiser = Denoiser()
        train(denoiser, spectrum.codes, steps)
        return Base(denoiser, spectrum)


def pictures_to_diffusion(pictures: NDArray[np.float32], seed: int, steps: int = STEPS) -> bytes:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to an ONNX decoder from ``z`` ``(n, 64)`` to such pictures."""
    return pictures_to_base(pictures, seed, steps).to_onnx()


def train(denoiser: Denoiser, codes: Tensor, steps: int) -> None:
    """Teach the denoiser, in place, to predict the noise in codes ``(n, c)``."""
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        clean = codes[torch.randint(len(codes), (BATCH,))]
        time, noise = torch.rand(BATCH, 1), torch.randn_like(clean)
        share = alpha_bar(time)
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        optimiser.zero_grad()
        functional.mse_loss(denoiser(noisy, time), noise).backward()
        optimiser.step()
        schedule.step()
