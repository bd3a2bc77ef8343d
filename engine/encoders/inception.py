"""``inception``: the FID network (InceptionV3 as TensorFlow published it), 2 048-d pool features.

The network's blocks are pytorch-fid's. Features are normalised per sample like every other encoder's, so these
statistics are not FID's own: FID's ``mu``/``sigma`` files are of features that are not normalised, and belong under a
name of their own (``external:fid``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.external import LOGIT_SCALE
from engine.encoders.image_only import ImageOnlyEncoder
from engine.encoders.preprocess import resize_float
from engine.encoders.registry import resolve_device
from engine.encoders.torch_features import load_into, state_to_fingerprint
from engine.errors import MissingWeights
from engine.records import EncoderIdentity

FILE = "pt_inception-2015-12-05-6726825d.pth"
SIZE = 299
DIMENSION = 2048


def load_inception(rest: str, *, device: str = "auto") -> ImageOnlyEncoder:
    """Load the network with the weights in a local file (``inception@/path``) or in torch's hub cache.

    Raises:
        MissingWeights: the file is not there.
    """
    import torch

    path = Path(rest.removeprefix("@")) if rest else Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not path.is_file():
        raise MissingWeights(
            f"the FID network's weights are not at {path}",
            hint=f"get {FILE} (published with pytorch-fid) and name it: inception@/path/{FILE}",
        )
    network = inception_network()
    load_into(network, path)
    fingerprint = state_to_fingerprint(network.state_dict(), "clean-fid bicubic 299x299 in [-1, 1]", "unit norm")
    identity = EncoderIdentity(f"inception{rest}", fingerprint, DIMENSION, LOGIT_SCALE, frozenset({"image"}))
    network.fc = torch.nn.Identity()
    chosen = resolve_device(device)
    network = network.eval().requires_grad_(False).to(chosen)
    return ImageOnlyEncoder(identity, _prepare, network, chosen)


def inception_network() -> Any:
    """FID's InceptionV3 without weights: torchvision's, with the pooling that TensorFlow's has."""
    from pytorch_fid import inception as fid
    from torchvision.models import inception_v3

    network = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = fid.FIDInceptionE_1(1280)
    network.Mixed_7c = fid.FIDInceptionE_2(2048)
    return network


def _prepare(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(resize_float(image, (SIZE, SIZE)) * np.float32(2) - np.float32(1), np.float32)
