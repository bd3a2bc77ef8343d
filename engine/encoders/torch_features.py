"""What every encoder that runs in PyTorch shares: batches to unit-norm features, and a fingerprint of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidFeatures, MissingWeights

if TYPE_CHECKING:
    import torch

Float32 = NDArray[np.float32]


def state_to_fingerprint(state: Mapping[str, Any], *notes: str) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a state dict, and over notes on the preprocessing."""
    import torch

    digest = hashlib.sha256("\n".join(notes).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_to_state(path: Path) -> dict[str, Any]:
    """A checkpoint's tensors: ``.safetensors``, or a PyTorch file read without unpickling objects.

    Raises:
        MissingWeights: it is not there, or holds more than tensors.
    """
    import torch

    if not path.is_file():
        raise MissingWeights(f"there are no weights at {path}", hint="give the path of a .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise MissingWeights(
            f"the weights at {path} cannot be read: {error}",
            hint="give tensors alone, best as .safetensors; pickled objects are never loaded",
        ) from error
    inner = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(inner, dict) or not all(isinstance(value, torch.Tensor) for value in inner.values()):
        raise MissingWeights(f"{path} is not a state dict of tensors")
    return {name.removeprefix("module."): value for name, value in inner.items()}


def load_into(network: Any, path: Path) -> None:
    """Load a checkpoint into a network, every tensor of it.

    Raises:
        MissingWeights: it is of another network.
    """
    try:
        network.load_state_dict(weights_to_state(path), strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()
        raise MissingWeights(f"the weights at {path} are of another network: {' '.join(first[:3])}") from error


def batch_to_unit_features(
    forward: Callable[[torch.Tensor], torch.Tensor], batch: NDArray[Any], device: str
) -> Float32:
    """Run a batch on a device and bring unit-norm float32 features ``(n, d)`` back (which waits for the device).

    Raises:
        InvalidFeatures: a feature is zero or not finite.
    """
    import torch

    with torch.inference_mode():
        moved = torch.from_numpy(np.ascontiguousarray(batch)).to(device)
        return rows_to_unit(forward(moved).float().cpu().numpy())


def rows_to_unit(features: Float32) -> Float32:
    """Features ``(n, d)`` to unit norm.

    Raises:
        InvalidFeatures: a feature is zero or not finite.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise InvalidFeatures("the encoder gave a feature that is zero or not finite")
    return np.asarray(features / norms, np.float32)
