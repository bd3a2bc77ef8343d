"""The compact encoder: identity, agreement with the plain networks, invariances, errors."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.encoders import compact_backbone, compact_text, images_to_features, load_encoder
from engine.encoders.compact import HEADS, CompactEncoder
from engine.encoders.compact_export import image_session, text_session
from engine.encoders.compact_prepare import prepare
from engine.errors import InvalidFeatures, InvalidQuery


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    return load_encoder("compact")


def drawing(shape: str, colour: str, size: tuple[int, int] = (200, 160)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    getattr(ImageDraw.Draw(image), shape)((30, 20, 150, 140), fill=colour)
    return image


PICTURES = [
    drawing("ellipse", "red"),
    drawing("rectangle", "blue"),
    drawing("ellipse", "green", (128, 128)),
    Image.effect_mandelbrot((300, 90), (-2, -1, 1, 1), 40).convert("RGB"),
]


def test_identity_is_stable_and_says_what_it_can(encoder):
    identity = encoder.identity
    assert identity == load_encoder("compact").identity
    assert identity.name == "compact"
    assert identity.dimension == 256
    assert identity.modalities == {"image", "text"}
    assert len(identity.fingerprint) == 64
    assert 1 < identity.logit_scale <= 100


def test_heads_are_small():
    assert HEADS.stat().st_size <= 4 * 2**20


def test_features_have_unit_norm(encoder):
    features = images_to_features(encoder, PICTURES)
    texts = encoder.texts_to_features(["a red circle", "zebra", "x" * 5000])
    assert features.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_exported_image_network_agrees_with_the_plain_one():
    import torch

    batch = np.stack([prepare(picture) for picture in PICTURES])
    with torch.inference_mode():
        plain = compact_backbone.images_to_levels(compact_backbone.load_network(), torch.from_numpy(batch)).numpy()
    assert plain.shape == (len(PICTURES), compact_backbone.FEATURES)
    np.testing.assert_allclose(image_session().run(None, {"images": batch})[0], plain, atol=1e-4)


def test_exported_text_network_agrees_at_other_lengths():
    import torch

    tokenizer = compact_text.load_tokenizer()
    for texts in (["a cat"], ["a dog on the beach at sunset", "x"]):
        ids, mask = compact_text.texts_to_tokens(tokenizer, texts)
        with torch.inference_mode():
            plain = compact_text.load_network()(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        exported = text_session().run(None, {"ids": ids, "mask": mask})[0]
        np.testing.assert_allclose(exported, plain, atol=1e-4)


def test_a_batch_is_encoded_as_its_members_alone(encoder):
    together = images_to_features(encoder, PICTURES)
    alone = np.concatenate([images_to_features(encoder, [picture]) for picture in PICTURES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    texts = ["a cat", "a very long description of a medieval castle on a hill"]
    padded = encoder.texts_to_features(texts)
    np.testing.assert_allclose(padded[:1], encoder.texts_to_features(texts[:1]), atol=1e-5)


def test_prepare_is_thread_safe(encoder):
    expected = [encoder.prepare(picture) for picture in PICTURES]
    with ThreadPoolExecutor(8) as pool:
        for place, got in enumerate(pool.map(encoder.prepare, PICTURES * 25)):
            np.testing.assert_array_equal(got, expected[place % len(PICTURES)])


def test_prepare_keeps_the_whole_picture_and_resizes_in_float():
    wide = Image.new("RGB", (256, 128), "black")
    array = prepare(wide)
    assert array.shape == (3, 128, 128)
    assert array[0, 64, 64] == pytest.approx(-127 / 128)
    assert array[0, 2, 64] == pytest.approx(1.0)  # the white bar above it
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)).convert("RGB")
    values = prepare(ramp)[0, 64] * 128 + 127
    assert len(np.unique(np.round(values, 3))) > 120  # halfway values survive: nothing was rounded to 8 bits
    assert np.abs(values % 1 - 0.5).min() < 0.1


def test_a_drawing_is_nearer_to_its_own_words(encoder):
    red, blue = images_to_features(encoder, PICTURES[:2])
    words = encoder.texts_to_features(["red circle", "blue square"])
    assert words[0] @ red > words[1] @ red
    assert words[1] @ blue > words[0] @ blue


@pytest.mark.parametrize("text", ["", "   ", "\n", None, 3])
def test_an_empty_text_is_refused(encoder, text):
    with pytest.raises(InvalidQuery, match="text"):
        encoder.texts_to_features(["fine", text])


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 64, 64), np.float32),
        np.zeros((3, 128, 128), np.float32),
        np.zeros((1, 3, 128, 128), np.float64),
        np.full((1, 3, 128, 128), np.nan, np.float32),
    ],
)
def test_a_wrong_batch_is_refused(encoder, batch):
    with pytest.raises(InvalidFeatures):
        encoder.prepared_to_features(batch)


def test_nothing_gives_nothing(encoder):
    assert images_to_features(encoder, []).shape == (0, 256)
    assert encoder.texts_to_features([]).shape == (0, 256)


def test_a_damaged_export_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE", str(tmp_path))
    batch = np.stack([prepare(PICTURES[0])])
    first = image_session().run(None, {"images": batch})[0]
    (path,) = tmp_path.glob("*.onnx")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    np.testing.assert_array_equal(image_session().run(None, {"images": batch})[0], first)
    assert path.read_bytes() != bytes(data)
