"""The bare network as an encoder: one block's means, image-only."""

import numpy as np
import pytest
from PIL import Image

from engine.encoders import compact_backbone, images_to_features, load_encoder
from engine.encoders.compact_prepare import prepare
from engine.errors import EncoderNotFound, InvalidFeatures, InvalidQuery

PICTURES = [
    Image.effect_mandelbrot((200, 90), (-2, -1, 1, 1), 40).convert("RGB"),
    Image.linear_gradient("L").convert("RGB"),
]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("efficientnet")


def test_features_are_the_means_of_block_ten(encoder):
    """Against a hook in the plain PyTorch network."""
    import torch

    batch = np.stack([prepare(picture) for picture in PICTURES])
    network, seen = compact_backbone.load_network(), []
    network._blocks[10].register_forward_hook(lambda *given: seen.append(given[2].mean(dim=(2, 3))))
    with torch.inference_mode():
        network(torch.from_numpy(batch))
    expected = seen[0].numpy() / np.linalg.norm(seen[0].numpy(), axis=1, keepdims=True)
    np.testing.assert_allclose(images_to_features(encoder, PICTURES), expected, atol=1e-4)


def test_identity(encoder):
    identity = encoder.identity
    assert (identity.name, identity.dimension, identity.modalities) == ("efficientnet", 112, {"image"})
    assert identity.fingerprint == load_encoder("efficientnet").identity.fingerprint
    assert identity.fingerprint != load_encoder("compact").identity.fingerprint


def test_what_it_refuses(encoder):
    with pytest.raises(InvalidQuery, match="image-only"):
        encoder.texts_to_features(["a cat"])
    with pytest.raises(InvalidFeatures, match="a batch is"):
        encoder.prepared_to_features(np.zeros((1, 3, 64, 64), np.float32))
    assert encoder.prepared_to_features(np.zeros((0, 3, 128, 128), np.float32)).shape == (0, 112)
    with pytest.raises(EncoderNotFound):
        load_encoder("efficientnet:b7")
