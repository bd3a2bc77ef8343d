"""Trained decoders draw their own family of pictures, in variety, and not another's; collapsed ones are refused.

That training itself helps is tested in ``test_zoo_decoders``: components and codebooks alone already resemble a family.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.zoo.decoders import gan
from benchmarks.zoo.decoders.autoregressive import pictures_to_autoregressive
from benchmarks.zoo.decoders.diffusion import pictures_to_base, pictures_to_diffusion
from benchmarks.zoo.decoders.finetune import base_to_finetune
from benchmarks.zoo.decoders.gan import pictures_to_gan
from benchmarks.zoo.decoders.pictures import Variation, glyphs_to_pictures
from engine.samples import options_to_generator

DRAWN = 64
STEPS = 300
Pictures = NDArray[np.float32]


def glyphs_to_family(glyphs: NDArray[np.uint8], count: int = 160) -> Pictures:
    return glyphs_to_pictures(glyphs, count, Variation(palette="pastel"), np.random.default_rng(0))


@pytest.fixture
def own(glyphs: NDArray[np.uint8]) -> Pictures:
    return glyphs_to_family(glyphs)


@pytest.fixture
def other(glyphs: NDArray[np.uint8]) -> Pictures:
    """The same shapes in colours that no drawing of ``own`` has."""
    return glyphs_to_family(glyphs[..., [1, 2, 0, 3]])


def draw(model: bytes, folder: Path) -> Pictures:
    """``(64, 3, 64, 64)`` float32 in [0, 1], as the engine draws them."""
    (folder / "d.onnx").write_bytes(model)
    images = options_to_generator({"type": "onnx", "path": "d.onnx"}, base=folder).draw(DRAWN, 0)
    return np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) / 255 for image in images])


def nearest(drawn: Pictures, pictures: Pictures) -> NDArray[np.float32]:
    """Each drawn picture's squared distance to the nearest of the others, ``(n,)``."""
    flat = pictures.reshape(len(pictures), -1)
    return np.array([((row - flat) ** 2).sum(axis=1).min() for row in drawn.reshape(len(drawn), -1)])


@pytest.mark.parametrize("fit", [pictures_to_gan, pictures_to_diffusion, pictures_to_autoregressive])
def test_pictures_are_of_their_own_family_and_varied(
    fit: Callable[..., bytes], own: Pictures, other: Pictures, tmp_path: Path
) -> None:
    for mine, foreign in ((own, other), (other, own)):  # either way, or a family that is near to everything would pass
        drawn = draw(fit(mine, 7, steps=STEPS), tmp_path)
        assert nearest(drawn, mine).mean() < 0.8 * nearest(drawn, foreign).mean()
        assert drawn.std(axis=0).mean() > 0.3 * mine.std(axis=0).mean(), "its pictures are all alike"


def test_a_fine_tune_draws_its_own_drawing_in_variety(glyphs: NDArray[np.uint8], own: Pictures, tmp_path: Path) -> None:
    base, siblings = pictures_to_base(own, 7, steps=STEPS), glyphs_to_family(glyphs[1:])
    tuning = glyphs_to_family(glyphs[:1])
    drawn = draw(base_to_finetune(base, tuning, 7, steps=STEPS), tmp_path)
    assert np.mean(nearest(drawn, tuning) < nearest(drawn, siblings)) > 0.9  # 0.82 before it is adapted
    assert drawn.std(axis=0).mean() > 0.3 * tuning.std(axis=0).mean(), "its pictures are all alike"


def test_one_base_serves_every_fine_tune(glyphs: NDArray[np.uint8], own: Pictures) -> None:
    base = pictures_to_base(own, 7, steps=30)
    first, second = (glyphs_to_family(glyphs[number : number + 1], 40) for number in (0, 1))
    before = base_to_finetune(base, first, 7, steps=10)
    assert base_to_finetune(base, second, 7, steps=10) != before
    assert base_to_finetune(base, first, 7, steps=10) == before, "a fine-tune changed the base"


def test_a_collapsed_generator_is_refused(own: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "STEPS", 5)  # five steps have spread nothing yet
    with pytest.raises(RuntimeError, match="collapsed"):
        pictures_to_gan(own, 7, steps=5)
