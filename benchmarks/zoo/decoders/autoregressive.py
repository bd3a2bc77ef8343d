"""Autoregressive decoders over quantised codes.

Each principal component is quantised to a few levels (quantiles of the training pictures); a masked network (MADE,
Germain et al. 2015) learns the probability of each level given the components before it. Sampling walks through the
components and inverts each conditional distribution at a uniform number, the normal CDF of the latent; the walk is
unrolled into the graph, so that one latent gives one picture in one call.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.decoders.spectrum import ToPixels, decoder_to_onnx, pictures_to_spectrum, seeded

COMPONENTS = 40
LEVELS = 16
HIDDEN = 320
STEPS = 1500
BATCH = 192


class MaskedLinear(nn.Linear):
    """A linear layer some of whose connections are cut: ``mask`` ``(out, in)``."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)


class Prior(nn.Module):
    """Quantised values ``(n, c)`` to logits ``(n, c, levels)``; those of component i see only components before it."""

    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(COMPONENTS)
        unit = torch.arange(HIDDEN) % COMPONENTS
        out = place.repeat_interleave(LEVELS)
        self.layers = nn.Sequential(
            MaskedLinear((unit[:, None] >= place[None]).float()),
            nn.SiLU(),
            MaskedLinear((unit[:, None] >= unit[None]).float()),
            nn.SiLU(),
            MaskedLinear((out[:, None] > unit[None]).float()),
        )

    def forward(self, values: Tensor) -> Tensor:
        logits: Tensor = self.layers(values)
        return logits.reshape(-1, COMPONENTS, LEVELS)


class Walk(nn.Module):
    """Noise ``z`` ``(n, c)`` to codes, one component after the other."""

    def __init__(self, prior: Prior, centres: Tensor) -> None:
        super().__init__()
        self.prior = prior
        self.register_buffer("centres", centres)

    def forward(self, z: Tensor) -> Tensor:
        uniform = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        values = z * 0
        for i in range(COMPONENTS):
            cumulative = self.prior(values)[:, i].softmax(dim=1).cumsum(dim=1)[:, : LEVELS - 1]
            level = (cumulative < uniform[:, i : i + 1]).to(z.dtype).sum(dim=1, keepdim=True)
            chosen = (level == torch.arange(LEVELS, dtype=z.dtype)).to(z.dtype) @ self.centres[i]
            values = torch.cat([values[:, :i], chosen[:, None], values[:, i + 1 :]], dim=1)
        return values


def pictures_to_autoregressive(pictures: NDArray[np.float32], seed: int, steps: int = STEPS) -> bytes:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to an ONNX decoder from ``z`` ``(n, 40)`` to such pictures."""
    with seeded(seed):
        spectrum = pictures_to_spectrum(pictures, COMPONENTS)
        edges = torch.quantile(spectrum.codes, torch.linspace(0, 1, LEVELS + 1)[1:-1], dim=0).T.contiguous()
        levels = torch.searchsorted(edges, spectrum.codes.T.contiguous()).T
        one_hot = functional.one_hot(levels, LEVELS).float()
        counts = one_hot.sum(dim=0).clamp(min=1)
        centres = torch.einsum("ncl,nc->cl", one_hot, spectrum.codes) / counts
        values = centres.gather(1, levels.T).T
        prior = Prior()
        optimiser = torch.optim.AdamW(prior.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            chosen = torch.randint(len(values), (BATCH,))
            logits = prior(values[chosen])
            optimiser.zero_grad()
            functional.cross_entropy(logits.reshape(-1, LEVELS), levels[chosen].reshape(-1)).backward()
            optimiser.step()
            schedule.step()
        return decoder_to_onnx(ToPixels(Walk(prior, centres), spectrum), COMPONENTS)
