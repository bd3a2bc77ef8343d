"""A_ψ ``(d, d)`` from its parameters ψ. Each form begins at the identity with ψ = 0, and weight decay leads back to it.

    diagonal      diag(sigmoid(ψ + 4)), ψ ``(d,)``: weights in (0, 1), all alike at first; a common factor changes no
                  cosine, and only the temperature of a density
    triangular    I + tril(ψ), ψ ``(d, d)``
    full          I + ψ, ψ ``(d, d)``

Source: Lu et al. (2023), the transform A_ψ and its forms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

SATURATED = 4.0
"""Where the diagonal form begins: sigmoid(4) = 0.98, near one and with a gradient left."""


def initial_parameters(parameterisation: str, dimension: int, device: str) -> Tensor:
    """ψ = 0, float32."""
    import torch

    shape = (dimension,) if parameterisation == "diagonal" else (dimension, dimension)
    return torch.zeros(shape, device=device, requires_grad=True)


def parameters_to_matrix(parameterisation: str, psi: Tensor) -> Tensor:
    """A ``(d, d)``, differentiable in ψ."""
    import torch

    if parameterisation == "diagonal":
        return torch.diag(torch.sigmoid(psi + SATURATED))
    change = psi.tril() if parameterisation == "triangular" else psi
    return torch.eye(len(psi), dtype=psi.dtype, device=psi.device) + change


def matrix_to_arrays(parameterisation: str, matrix: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What is stored of A."""
    if parameterisation == "diagonal":
        return {"diagonal": np.ascontiguousarray(np.diag(matrix))}
    return {"matrix": np.ascontiguousarray(matrix)}
