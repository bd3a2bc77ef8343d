"""Strips: prepared in little memory, and as Pillow would prepare them with all the memory in the world."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.encoders import compact_prepare
from engine.encoders.preprocess import resize_and_crop, resize_float
from engine.encoders.thin import bicubic_weights, is_thin, resize_thin
from tests.encoders.thin_child import PREPARE, SHAPES

CHILD = Path(__file__).with_name("thin_child.py")
ROOM = 256 * 2**20
"""Bytes beyond what the child has. A million pixels of 1 × n are 12 MB in Pillow; padded to a square they are 4 TB."""
Float32 = NDArray[np.float32]


@pytest.fixture(scope="module")
def prepared_in_little_memory() -> dict[str, object]:
    command = [sys.executable, str(CHILD), str(ROOM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("size", SHAPES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("encoder", PREPARE)
def test_a_strip_takes_little_memory(
    prepared_in_little_memory: dict[str, object], encoder: str, size: tuple[int, int]
) -> None:
    assert prepared_in_little_memory[f"{encoder} {size[0]}x{size[1]}"] is True


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


def padded(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def resized(image: Image.Image, size: tuple[int, int]) -> Float32:
    """By Pillow, whatever it takes: ``(3, h, w)`` levels."""
    return np.stack([np.asarray(c.convert("F").resize(size, Image.Resampling.BICUBIC)) for c in image.split()])


SIZES = [(1, 1), (1, 7), (300, 1), (3, 1999), (2000, 5), (37, 900), (640, 480), (480, 640), (128, 128), (50, 20)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_strips_are_resized_as_pillow_resizes(size: tuple[int, int]) -> None:
    image = noise(*size)
    for wanted in ((128, 128), (299, 299), (60, 90)):
        assert np.abs(resize_thin(image, wanted) - resized(image, wanted)).max() < 1e-4
    window = (7, 11, 57, 61)
    part = resized(image, (60, 90))[:, 11:61, 7:57]
    assert np.abs(resize_thin(image, (60, 90), window=window) - part).max() < 1e-4
    square = resize_thin(image, (128, 128), square=True)
    assert np.abs(square - resized(padded(image), (128, 128))).max() < 1e-4


@pytest.mark.parametrize("size", [(640, 480), (300, 900), (1600, 400), (1000, 80), (128, 128), (31, 17)], ids=str)
def test_ordinary_pictures_keep_their_very_bits(size: tuple[int, int]) -> None:
    """Stored features must stay comparable: the fingerprint of an encoder promises its preparation."""
    image = noise(*size)
    assert not is_thin(image, max(size) ** 2)
    old = (np.clip(resized(padded(image), (128, 128)), 0, 255) - np.float32(127)) / np.float32(128)
    assert np.array_equal(compact_prepare.prepare(image), old)
    assert np.array_equal(resize_float(image, (299, 299)), np.clip(resized(image, (299, 299)) / np.float32(255), 0, 1))
    scale = 224 / min(size)
    wide = (max(224, round(size[0] * scale)), max(224, round(size[1] * scale)))
    left, top = (wide[0] - 224) // 2, (wide[1] - 224) // 2
    whole = np.clip(resized(image, wide) / np.float32(255), 0, 1)
    assert np.array_equal(resize_and_crop(image, 224), whole[:, top : top + 224, left : left + 224])


def test_a_strip_in_the_middle_of_white_by_hand() -> None:
    # A black row through 10 001 white ones: one pixel of 128 covers 78 rows, and the row has its share of their weight.
    levels = resize_thin(Image.new("RGB", (10_001, 1)), (128, 128), square=True)
    first, weights = bicubic_weights(10_001, 128, 64)
    assert levels[0, 64] == pytest.approx(255 * (1 - weights[5_000 - first]), abs=1e-4)
    assert (levels[:, 0] == 255).all()
    assert levels.sum(axis=1) == pytest.approx(128 * 255 - 255 * 128 / 10_001, abs=0.01)  # all the row's weight
