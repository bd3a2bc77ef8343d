"""OpenCLIP, timm and Inception on real, tiny or randomly initialised networks; names and errors of every family."""

import json

import numpy as np
import pytest
from PIL import Image

from engine.encoders import Encoder, external_identity, images_to_features, known_encoders, load_encoder, parse_name
from engine.encoders.preprocess import normalise, resize_and_crop, resize_float
from engine.errors import EncoderNotFound, InvalidInput, InvalidQuery, MissingWeights

torch = pytest.importorskip("torch")
PICTURES = [
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 40).convert("RGB"),
    Image.new("RGB", (33, 70), (200, 30, 90)),
    Image.radial_gradient("L").convert("RGB"),
]
TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A tiny model configuration and a random checkpoint of it."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    config = folder / "tiny-test-clip.json"
    config.write_text(json.dumps(TINY))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    network = open_clip.create_model("tiny-test-clip", pretrained=None)
    weights = folder / "tiny.safetensors"
    save_file(network.state_dict(), weights)
    return config, weights


@pytest.fixture(scope="module")
def clip(tiny_clip):
    config, weights = tiny_clip
    return load_encoder(f"open_clip:{config}@{weights}", device="cpu")


def test_open_clip_features(clip):
    assert isinstance(clip, Encoder)
    features = images_to_features(clip, PICTURES)
    texts = clip.texts_to_features(["a cat", "two dogs " * 50])
    assert features.shape == (3, 24)
    assert texts.shape == (2, 24)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(features, images_to_features(clip, PICTURES))
    assert clip.identity.dimension == 24
    assert clip.identity.modalities == {"image", "text"}
    assert clip.identity.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_open_clip_agrees_with_its_own_network(clip, tiny_clip):
    import open_clip
    from safetensors.torch import load_file

    network, _, preprocess = open_clip.create_model_and_transforms("tiny-test-clip", pretrained=None)
    network.load_state_dict(load_file(tiny_clip[1]))
    with torch.inference_mode():
        theirs = network.eval().encode_image(torch.stack([preprocess(p) for p in PICTURES]), normalize=True).numpy()
    cosines = (theirs * images_to_features(clip, PICTURES)).sum(axis=1)
    assert cosines.min() > 0.98  # 8-bit resizing there, float resizing here


def test_the_fingerprint_follows_the_weights_and_not_the_path(clip, tiny_clip, tmp_path):
    from safetensors.torch import load_file, save_file

    config, weights = tiny_clip
    copy = tmp_path / "other name.safetensors"
    copy.write_bytes(weights.read_bytes())
    assert load_encoder(f"open_clip:{config}@{copy}").identity.fingerprint == clip.identity.fingerprint
    state = load_file(weights)
    state["logit_scale"] = state["logit_scale"] + 0.1
    save_file(state, copy)
    assert load_encoder(f"open_clip:{config}@{copy}").identity.fingerprint != clip.identity.fingerprint


def test_a_pytorch_checkpoint_is_read_without_unpickling(tiny_clip, clip, tmp_path):
    from safetensors.torch import load_file

    config, weights = tiny_clip
    plain = tmp_path / "weights.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in load_file(weights).items()}}, plain)
    assert load_encoder(f"open_clip:{config}@{plain}").identity.fingerprint == clip.identity.fingerprint
    evil = tmp_path / "evil.pt"
    torch.save({"state_dict": Trap()}, evil)
    with pytest.raises(MissingWeights, match="cannot be read"):
        load_encoder(f"open_clip:{config}@{evil}")


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (pytest.fail, ("code of a checkpoint was run",))


@pytest.mark.parametrize("text", ["", "  ", None])
def test_open_clip_refuses_an_empty_text(clip, text):
    with pytest.raises(InvalidQuery):
        clip.texts_to_features([text])


def test_timm_is_image_only(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("test_vit", pretrained=False, num_classes=0)
    weights = tmp_path / "vit.safetensors"
    save_file(network.state_dict(), weights)
    encoder = load_encoder(f"timm:test_vit@{weights}", device="cpu")
    features = images_to_features(encoder, PICTURES)
    assert features.shape == (3, encoder.identity.dimension)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert encoder.identity.modalities == {"image"}
    with pytest.raises(InvalidQuery, match="image-only"):
        encoder.texts_to_features(["a cat"])


def test_inception_is_fids_network(tmp_path):
    from safetensors.torch import save_file

    from engine.encoders.inception import inception_network

    torch.manual_seed(0)
    weights = tmp_path / "inception.safetensors"
    save_file(inception_network().state_dict(), weights)
    encoder = load_encoder(f"inception@{weights}", device="cpu")
    features = images_to_features(encoder, PICTURES[:2])
    assert features.shape == (2, 2048)
    assert encoder.prepare(PICTURES[0]).shape == (3, 299, 299)
    with pytest.raises(InvalidQuery, match="image-only"):
        encoder.texts_to_features(["a cat"])


@pytest.mark.parametrize("name", ["", "nonsense", "open_clip", "open_clip:", "timm:", "compact:x", "external:", None])
def test_an_unknown_family_lists_the_known_ones(name):
    with pytest.raises(EncoderNotFound, match="no encoder") as caught:
        parse_name(name)
    assert "open_clip:MODEL/TAG" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("open_clip:ViT-B-33/openai", "ViT-B-32"),
        ("timm:vit_small_patch16_225", "vit_small"),
        ("open_clip:ViT-B-32/x", "openai"),
    ],
)
def test_an_unknown_model_names_close_ones(name, near):
    with pytest.raises(EncoderNotFound) as caught:
        load_encoder(name)
    assert near in caught.value.hint


@pytest.mark.parametrize(
    "name", ["open_clip:ViT-B-32@/nowhere/w.safetensors", "timm:test_vit@/nowhere/w.safetensors", "inception@/nowhere"]
)
def test_missing_weights_are_a_clear_error(name):
    with pytest.raises(MissingWeights) as caught:
        load_encoder(name)
    assert "/nowhere" in str(caught.value)
    assert caught.value.hint


def test_weights_of_another_network_are_refused(tiny_clip):
    with pytest.raises(MissingWeights, match="another network"):
        load_encoder(f"timm:test_vit@{tiny_clip[1]}")


def test_weights_beyond_download_say_how_to_give_a_file(monkeypatch):
    from engine.encoders import hub

    monkeypatch.setattr(hub, "hub_is_reachable", lambda: False)
    with pytest.raises(MissingWeights) as caught:
        load_encoder("timm:test_vit.r160_in1k")
    assert "timm:test_vit.r160_in1k@/path" in caught.value.hint


def test_external_encoders_have_an_identity_but_cannot_encode():
    identity = external_identity("external:mine", 7)
    assert identity.dimension == 7
    assert identity != external_identity("external:mine", 8)
    assert not identity.modalities
    with pytest.raises(EncoderNotFound, match="elsewhere"):
        load_encoder("external:mine")
    with pytest.raises(InvalidInput):
        external_identity("external:mine", 0)


def test_known_encoders_name_their_families():
    names = [info.name for info in known_encoders()]
    assert any(name.startswith("open_clip:") for name in names)
    assert "compact" in names


def test_resizing_is_in_float_and_antialiased():
    board = Image.fromarray(np.uint8(np.indices((64, 64)).sum(axis=0) % 2 * 255)).convert("RGB")
    small = resize_float(board, (16, 16))
    assert small.shape == (3, 16, 16)
    np.testing.assert_allclose(small[:, 4:-4, 4:-4], 0.5, atol=0.01)  # aliasing would keep black and white
    crop = resize_and_crop(Image.new("RGB", (300, 100), "red"), 50)
    assert crop.shape == (3, 50, 50)
    np.testing.assert_allclose(normalise(crop, (1, 0, 0), (1, 1, 1)), 0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(tiny_clip, clip):
    config, weights = tiny_clip
    there = load_encoder(f"open_clip:{config}@{weights}", device="cuda")
    np.testing.assert_allclose(images_to_features(there, PICTURES), images_to_features(clip, PICTURES), atol=1e-4)
