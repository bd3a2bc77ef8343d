"""Decoders: they are what their formula says, deterministic, and the engine draws from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from benchmarks.zoo.decoders import vae
from benchmarks.zoo.decoders.pca import LATENTS, pictures_to_pca, principal_components
from benchmarks.zoo.decoders.pictures import Variation, glyphs_to_pictures, turn_hue
from benchmarks.zoo.decoders.vae import pictures_to_vae
from engine.samples import options_to_generator

Fit = Callable[[NDArray[np.float32]], bytes]


@pytest.fixture
def pictures(glyphs: NDArray[np.uint8]) -> NDArray[np.float32]:
    return glyphs_to_pictures(glyphs, 160, Variation(palette="pastel"), np.random.default_rng(0))


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae, "STEPS", 60)


def decode(model: bytes, z: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: z})[0]
    return images


def test_components_agree_with_a_float64_svd(rng: np.random.Generator) -> None:
    flat = rng.normal(size=(30, 200)).astype(np.float32)
    mean, singular, right = principal_components(flat, 5)
    _, expected, axes = np.linalg.svd(flat.astype(np.float64) - flat.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(mean, flat.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(singular, expected[:5], rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(right * axes[:5], axis=1)), 1, atol=1e-3)


def test_a_pca_decoder_is_its_formula(pictures: NDArray[np.float32], rng: np.random.Generator) -> None:
    z = rng.normal(size=(5, LATENTS)).astype(np.float32)
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, singular, right = np.linalg.svd(flat - mean, full_matrices=False)
    drawn = decode(pictures_to_pca(pictures), z).reshape(5, -1)
    # Eigenvectors are unique up to sign, so each is turned to the decoder's own before the pictures are compared.
    mine = principal_components(pictures.reshape(len(pictures), -1), LATENTS)[2]
    signs = np.sign(np.sum(mine * right[:LATENTS], axis=1))
    scales = signs * singular[:LATENTS] / np.sqrt(len(flat) - 1)
    np.testing.assert_allclose(drawn, np.clip(mean + (z * scales) @ right[:LATENTS], 0, 1), atol=5e-3)


@pytest.mark.parametrize(
    ("fit", "latents"), [(pictures_to_pca, LATENTS), (lambda p: pictures_to_vae(p, 7), vae.LATENTS)]
)
def test_a_decoder_is_deterministic_and_draws_in_range(
    fit: Fit, latents: int, pictures: NDArray[np.float32], rng: np.random.Generator
) -> None:
    z = rng.normal(size=(3, latents)).astype(np.float32)
    first, second = fit(pictures), fit(pictures)
    assert first == second
    images = decode(first, z)
    assert images.shape == (3, 3, 64, 64)
    assert 0 <= images.min() < images.max() <= 1
    np.testing.assert_allclose(decode(first, z[1:2])[0], images[1], atol=1e-5)


@pytest.mark.parametrize("fit", [pictures_to_pca, lambda p: pictures_to_vae(p, 7)])
def test_the_engine_draws_from_a_decoder(fit: Fit, pictures: NDArray[np.float32], tmp_path: Path) -> None:
    (tmp_path / "d.onnx").write_bytes(fit(pictures))
    generator = options_to_generator({"type": "onnx", "path": "d.onnx"}, base=tmp_path)
    first, again, other = generator.draw(4, 1), generator.draw(4, 1), generator.draw(4, 2)
    assert [image.size for image in first] == [(64, 64)] * 4
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert first[0].tobytes() != other[0].tobytes()
    # Colours in [0, 1] that were read as another range would come out nearly black or clipped to white.
    assert 60 < np.mean([np.asarray(image).mean() for image in first]) < 250


def test_training_a_vae_brings_its_pictures_nearer(
    pictures: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    z = np.random.default_rng(0).normal(size=(64, vae.LATENTS)).astype(np.float32)

    def distance_to_nearest(steps: int) -> float:
        monkeypatch.setattr(vae, "STEPS", steps)
        drawn = decode(pictures_to_vae(pictures, 7), z).reshape(64, 1, -1)
        nearest = [float(((row - pictures.reshape(len(pictures), -1)) ** 2).sum(axis=1).min()) for row in drawn]
        return float(np.mean(nearest))

    assert distance_to_nearest(400) < 0.5 * distance_to_nearest(0)


def test_every_drawing_comes_equally_often(glyphs: NDArray[np.uint8]) -> None:
    still = Variation(shift=0, turn=0, zoom=0)
    pictures = glyphs_to_pictures(glyphs, 8, still, np.random.default_rng(0))
    np.testing.assert_array_equal(pictures[:4], pictures[4:])
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_hue_turns_keep_greys_and_come_round(rng: np.random.Generator) -> None:
    picture = (0.3 + 0.4 * rng.random((3, 5, 5))).astype(np.float32)
    grey = np.full((3, 5, 5), 0.4, np.float32)
    np.testing.assert_allclose(turn_hue(grey, 0.3), grey, atol=1e-6)
    np.testing.assert_allclose(turn_hue(picture, 1.0), picture, atol=1e-5)
    # A third of a turn is a permutation of the channels.
    np.testing.assert_allclose(turn_hue(picture, 1 / 3), np.roll(picture, 1, axis=0), atol=1e-5)
