"""Contact sheets: their size, what lies where, and odd inputs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.zoo.sheets import Answer, contact_sheet

BLUE, RED = (0, 0, 255), (255, 0, 0)


def answers(count: int, pictures: int = 9) -> list[Answer]:
    return [(f"model-{n}", 0.5 - n / 10, "sampler", [Image.new("RGB", (64, 64), RED)] * pictures) for n in range(count)]


def share(sheet: Image.Image, colour: tuple[int, int, int]) -> float:
    return float((np.asarray(sheet) == colour).all(axis=-1).mean())


@pytest.mark.parametrize("query", [None, Image.new("RGB", (300, 200), BLUE)])
def test_size_follows_the_number_of_answers_alone(query: Image.Image | None) -> None:
    five, three = contact_sheet("a bird", query, answers(5)), contact_sheet("a bird", query, answers(3))
    assert five.mode == "RGB"
    assert five.height == three.height
    assert five.width > three.width
    assert five.size == contact_sheet("a far longer text " * 9, query, answers(5, pictures=2)).size


def test_the_query_is_at_the_left_and_the_samples_at_the_right() -> None:
    sheet = contact_sheet("mixed", Image.new("RGB", (300, 200), BLUE), answers(5))
    left, right = sheet.crop((0, 0, 300, sheet.height)), sheet.crop((300, 0, *sheet.size))
    assert share(left, BLUE) > 0.2
    assert share(left, RED) == 0
    assert share(right, RED) > 0.3
    assert share(right, BLUE) == 0


def test_a_text_is_drawn_and_changes_the_sheet() -> None:
    assert contact_sheet("a bird", None, answers(1)).tobytes() != contact_sheet("a fish", None, answers(1)).tobytes()


def test_the_margins_are_white() -> None:
    sheet = np.asarray(contact_sheet("x" * 200, Image.new("RGB", (9, 900), BLUE), answers(5)))
    for edge in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
        assert (edge == 255).all()


def test_no_answers_and_no_samples_still_make_a_sheet() -> None:
    assert contact_sheet("nothing", None, []).width > 200
    assert share(contact_sheet("empty", None, answers(2, pictures=0)), RED) == 0
