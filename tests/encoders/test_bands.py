"""Large pictures are resized in bands, and the result does not show it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.encoders import bands
from engine.encoders.bands import channels_to_levels

BICUBIC = Image.Resampling.BICUBIC
SIZES = ((40, 40), (61, 33), (33, 61), (16, 90), (90, 16), (10, 3))


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("given", SIZES)
def test_bands_make_up_the_whole(monkeypatch: pytest.MonkeyPatch, given: tuple[int, int], square: bool) -> None:
    image = noise(given)
    for size in ((16, 16), (given[0], 12), (12, given[1]), given, (100, 7)):
        whole = channels_to_levels(image, size, square=square)
        assert whole.shape == (3, size[1], size[0])
        with monkeypatch.context() as patched:
            patched.setattr(bands, "LARGE", 0)
            for band in (1, 100, 700):
                patched.setattr(bands, "BAND", band)
                banded = channels_to_levels(image, size, square=square)
                np.testing.assert_allclose(banded, whole, atol=1e-3)  # of 255: which pass Pillow takes first varies
                if size == (16, 16) and (square or given[0] >= given[1]):
                    assert np.array_equal(banded, whole)


def test_by_pillow_itself() -> None:
    image = noise((20, 30))
    for i, channel in enumerate(image.split()):
        expected = np.asarray(channel.convert("F").resize((8, 9), BICUBIC))
        assert np.array_equal(channels_to_levels(image, (8, 9))[i], expected)
