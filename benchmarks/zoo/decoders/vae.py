"""Small variational autoencoders, trained in seconds; the decoder is exported to ONNX.

The pictures are reduced to their first 128 principal components, in which a small autoencoder learns a curved 16-d
latent space; the decoder ends in the linear map back to pixels. On two cores that costs seconds, where a convolutional
one of the same sharpness costs minutes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.zoo.decoders.pca import principal_components
from benchmarks.zoo.decoders.spectrum import Spectrum, ToPixels, decoder_to_onnx, seeded

COMPONENTS = 128
LATENTS = 16
HIDDEN = 256
STEPS = 1500
BATCH = 128
BETA = 0.02
"""Weight of the KL term against the squared error in units of the components' own variance."""


def pictures_to_vae(pictures: NDArray[np.float32], seed: int) -> bytes:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to an ONNX decoder from ``z`` ``(n, 16)`` to such pictures."""
    with seeded(seed):
        return decoder_to_onnx(_train(pictures.reshape(len(pictures), -1)), LATENTS)


def _train(flat: NDArray[np.float32]) -> ToPixels:
    """The decoder half of an autoencoder trained on ``(n, 12 288)`` float32 pixels in [0, 1]."""
    mean, singular, right = (torch.from_numpy(part) for part in principal_components(flat, COMPONENTS))
    unit = singular[0] / len(flat) ** 0.5
    codes = (torch.from_numpy(flat) - mean) @ right.T / unit
    network = nn.Sequential(
        nn.Linear(LATENTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, codes.shape[1])
    )
    encoder = nn.Sequential(
        nn.Linear(codes.shape[1], HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 2 * LATENTS),
    )
    optimiser = torch.optim.Adam([*encoder.parameters(), *network.parameters()], lr=1e-3)
    for _ in range(STEPS):
        batch = codes[torch.randint(len(codes), (BATCH,))]
        centre, log_variance = encoder(batch).chunk(2, dim=1)
        z = centre + torch.randn_like(centre) * (log_variance / 2).exp()
        error = (network(z) - batch).square().sum(dim=1).mean()
        divergence = (centre.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        optimiser.zero_grad()
        (error + BETA * divergence).backward()
        optimiser.step()
    return ToPixels(network, Spectrum(codes, right[:COMPONENTS] * unit, mean))
