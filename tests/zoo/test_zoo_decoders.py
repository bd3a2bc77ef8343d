"""Decoders: they are what their formula says, deterministic, and the engine draws from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from benchmarks.zoo.decoders import autoregressive, diffusion, gan, vae
from benchmarks.zoo.decoders.autoregressive import pictures_to_autoregressive
from benchmarks.zoo.decoders.diffusion import pictures_to_base, pictures_to_diffusion
from benchmarks.zoo.decoders.finetune import base_to_finetune
from benchmarks.zoo.decoders.gan import pictures_to_gan
from benchmarks.zoo.decoders.pca import LATENTS, pictures_to_pca, principal_components
from benchmarks.zoo.decoders.pictures import Variation, glyphs_to_pictures, turn_hue
from benchmarks.zoo.decoders.vae import pictures_to_vae
from engine.samples import options_to_generator

Fit = Callable[[NDArray[np.float32]], bytes]


def pictures_to_finetune(pictures: NDArray[np.float32]) -> bytes:
    """A base of all the pictures, adapted to the first drawing's."""
    return base_to_finetune(pictures_to_base(pictures, 7, steps=30), pictures[::4], 7, steps=10)


FITS: list[tuple[Fit, int]] = [
    (pictures_to_pca, LATENTS),
    (lambda p: pictures_to_vae(p, 7), vae.LATENTS),
    (lambda p: pictures_to_gan(p, 7, steps=30), gan.LATENTS),
    (lambda p: pictures_to_diffusion(p, 7, steps=30), diffusion.COMPONENTS),
    (lambda p: pictures_to_autoregressive(p, 7, steps=30), autoregressive.COMPONENTS),
    (pictures_to_finetune, diffusion.COMPONENTS),
]
KINDS = ["pca", "vae", "gan", "diffusion", "autoregressive", "finetune"]


@pytest.fixture(scope="module")
def pictures(glyphs: NDArray[np.uint8]) -> NDArray[np.float32]:
    return glyphs_to_pictures(glyphs, 160, Variation(palette="pastel"), np.random.default_rng(0))


@pytest.fixture(autouse=True, scope="module")
def short_training() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vae, "STEPS", 60)
        yield


@pytest.fixture(scope="module", params=range(len(KINDS)), ids=KINDS)
def fitted(request: pytest.FixtureRequest, pictures: NDArray[np.float32]) -> tuple[Fit, int, bytes]:
    """A kind of decoder, its latents, and one that was fitted."""
    fit, latents = FITS[request.param]
    return fit, latents, fit(pictures)


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


def test_a_decoder_is_deterministic_and_draws_in_range(
    fitted: tuple[Fit, int, bytes], pictures: NDArray[np.float32], rng: np.random.Generator
) -> None:
    fit, latents, first = fitted
    z = rng.normal(size=(3, latents)).astype(np.float32)
    assert first == fit(pictures)
    images = decode(first, z)
    assert images.shape == (3, 3, 64, 64)
    assert 0 <= images.min() < images.max() <= 1
    np.testing.assert_allclose(decode(first, z[1:2])[0], images[1], atol=1e-5)


def test_the_engine_draws_from_a_decoder(fitted: tuple[Fit, int, bytes], tmp_path: Path) -> None:
    (tmp_path / "d.onnx").write_bytes(fitted[2])
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

    def distance_after(steps: int) -> float:
        monkeypatch.setattr(vae, "STEPS", steps)
        return distance_to_nearest(decode(pictures_to_vae(pictures, 7), z), pictures)

    assert distance_after(400) < 0.5 * distance_after(0)


def distance_to_nearest(drawn: NDArray[np.float32], pictures: NDArray[np.float32]) -> float:
    """The mean squared distance of each picture to the nearest of the others."""
    flat = pictures.reshape(len(pictures), -1)
    return float(np.mean([((row - flat) ** 2).sum(axis=1).min() for row in drawn.reshape(len(drawn), -1)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fit", "latents", "steps"),
    [
        (pictures_to_gan, gan.LATENTS, 1000),
        (pictures_to_diffusion, diffusion.COMPONENTS, 400),
        (pictures_to_autoregressive, autoregressive.COMPONENTS, 400),
    ],
    ids=["gan", "diffusion", "autoregressive"],
)
def test_training_brings_pictures_nearer(
    fit: Callable[..., bytes], latents: int, steps: int, pictures: NDArray[np.float32]
) -> None:
    z = np.random.default_rng(0).normal(size=(64, latents)).astype(np.float32)
    trained, untrained = (decode(fit(pictures, 7, steps=count), z) for count in (steps, 1))
    assert distance_to_nearest(trained, pictures) < 0.7 * distance_to_nearest(untrained, pictures)
    assert trained.std(axis=0).mean() > 0.3 * pictures.std(axis=0).mean(), "its pictures are all alike"


def test_a_fine_tune_comes_nearer_to_its_drawing(pictures: NDArray[np.float32]) -> None:
    z = np.random.default_rng(0).normal(size=(64, diffusion.COMPONENTS)).astype(np.float32)
    base, own = pictures_to_base(pictures, 7, steps=400), pictures[::4]
    tuned, untuned = (decode(base_to_finetune(base, own, 7, steps=steps), z) for steps in (300, 1))
    assert distance_to_nearest(tuned, own) < 0.7 * distance_to_nearest(untuned, own)


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
