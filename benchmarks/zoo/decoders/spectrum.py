"""Pictures as codes: coordinates in the space of their first principal components, where small networks can work.

Decoders end in the linear map back to pixels. On two cores that costs seconds where a convolutional network of the
same sharpness costs minutes.
"""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.zoo.decoders.pca import principal_components
from benchmarks.zoo.decoders.pictures import DECODER_SIZE

OPSET = 17


@dataclass(frozen=True)
class Spectrum:
    """``codes`` ``(n, c)`` of unit spread in every component, ``basis`` ``(c, 12 288)`` and ``mean`` ``(12 288,)``."""

    codes: Tensor
    basis: Tensor
    mean: Tensor

    @property
    def spread(self) -> Tensor:
        """Each component's share of the picture: its singular value over the largest, ``(c,)``."""
        length = self.basis.norm(dim=1)
        return length / length.max()


def pictures_to_spectrum(pictures: NDArray[np.float32], components: int) -> Spectrum:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to codes, with codes @ basis + mean the pictures, nearly."""
    flat = pictures.reshape(len(pictures), -1)
    mean, singular, right = (torch.from_numpy(part) for part in principal_components(flat, components))
    scale = (singular[:components] / len(flat) ** 0.5).clamp(min=1e-4)
    codes = (torch.from_numpy(flat) - mean) @ right[:components].T / scale
    return Spectrum(codes, right[:components] * scale[:, None], mean)


def pictures_to_codes(pictures: NDArray[np.float32], spectrum: Spectrum) -> Tensor:
    """Other pictures in the coordinates of a spectrum ``(n, c)``."""
    flat = torch.from_numpy(pictures.reshape(len(pictures), -1)) - spectrum.mean
    return flat @ spectrum.basis.T / spectrum.basis.square().sum(dim=1)


class ToPixels(nn.Module):
    """A network from ``z`` to codes, followed by the map to pictures ``(n, 3, 64, 64)`` in [0, 1]."""

    def __init__(self, network: nn.Module, spectrum: Spectrum) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("basis", spectrum.basis)
        self.register_buffer("mean", spectrum.mean)

    def forward(self, z: Tensor) -> Tensor:
        pixels: Tensor = self.network(z) @ self.basis + self.mean
        return pixels.clamp(0, 1).reshape(-1, 3, DECODER_SIZE, DECODER_SIZE)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's seed, and one thread (the matrices are small: more would only wait for one another), for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def decoder_to_onnx(decoder: nn.Module, latents: int) -> bytes:
    """A decoder from ``z`` ``(n, latents)`` to pictures in [0, 1], as an ONNX file's bytes."""
    stream: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no further package
        torch.onnx.export(
            decoder.eval(),
            (torch.zeros(2, latents),),
            stream,
            dynamo=False,
            opset_version=OPSET,
            input_names=["z"],
            output_names=["images"],
            dynamic_axes={"z": {0: "n"}, "images": {0: "n"}},
        )
    model = onnx.load_from_string(stream.getvalue())
    onnx.helper.set_model_props(model, {"engine.range": "[0, 1]"})
    data: bytes = model.SerializeToString()
    return data


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise(widths):
        layers += [nn.Linear(one, other), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
