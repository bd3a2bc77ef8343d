"""Generative adversarial networks, trained in seconds in the space of principal components.

Non-saturating loss (Goodfellow et al. 2014) with R1 regularisation of the discriminator (Mescheder et al. 2018) and a
minibatch-spread feature (Karras et al. 2018), which keeps a small generator from collapsing onto a few pictures. The
generator shipped is an average of its last weights.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.decoders.spectrum import ToPixels, decoder_to_onnx, mlp, pictures_to_spectrum, seeded

COMPONENTS = 40
LATENTS = 32
HIDDEN = 256
STEPS = 2500
BATCH = 96
R1 = 0.5
AVERAGED = 0.995
LEAST_SPREAD = 0.35
"""Spread of the made pictures over that of the real ones, below which the generator has collapsed."""


class Critic(nn.Module):
    """Codes ``(n, c)`` to a logit, seeing how far its batch is spread."""

    def __init__(self, components: int) -> None:
        super().__init__()
        self.body = mlp(components, HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN + 1, 1)

    def forward(self, codes: Tensor) -> Tensor:
        found = functional.silu(self.body(codes))
        spread = found.std(dim=0).mean().expand(len(codes), 1)
        return self.head(torch.cat([found, spread], dim=1))


def pictures_to_gan(pictures: NDArray[np.float32], seed: int, steps: int = STEPS) -> bytes:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to an ONNX generator from ``z`` ``(n, 32)`` to such pictures.

    Raises:
        RuntimeError: the generator collapsed.
    """
    with seeded(seed):
        spectrum = pictures_to_spectrum(pictures, COMPONENTS)
        weight = spectrum.spread  # as in the picture: whitened, faint components would count as much as the shape
        real = spectrum.codes * weight
        generator, critic = mlp(LATENTS, HIDDEN, HIDDEN, COMPONENTS), Critic(COMPONENTS)
        average = torch.optim.swa_utils.AveragedModel(
            generator, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED)
        )
        made_by = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.99))
        judged_by = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.99))
        for _ in range(steps):
            batch = real[torch.randint(len(real), (BATCH,))].requires_grad_()
            fake = generator(torch.randn(BATCH, LATENTS))
            logits = critic(batch)
            (slope,) = torch.autograd.grad(logits.sum(), batch, create_graph=True)
            loss = functional.softplus(critic(fake.detach())).mean() + functional.softplus(-logits).mean()
            judged_by.zero_grad()
            (loss + R1 * slope.square().sum(dim=1).mean()).backward()
            judged_by.step()
            made_by.zero_grad()
            functional.softplus(-critic(generator(torch.randn(BATCH, LATENTS)))).mean().backward()
            made_by.step()
            average.update_parameters(generator)
        with torch.no_grad():
            spread = average.module(torch.randn(256, LATENTS)).std(dim=0).norm() / real.std(dim=0).norm()
        if steps == STEPS and spread < LEAST_SPREAD:
            raise RuntimeError(
                f"the generator collapsed: its pictures are spread {spread:.2f} times as far as real ones"
            )
        scaled = nn.Sequential(average.module, Scale(1 / weight))
        return decoder_to_onnx(ToPixels(scaled, spectrum), LATENTS)


class Scale(nn.Module):
    """Multiplies each component by a constant."""

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor
