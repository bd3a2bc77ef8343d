"""Compositions depend on their seed alone, and on every option."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.zoo.compose import BACKDROPS, LAYOUTS, PICTURE_SIZE, Placement, compose, place
from benchmarks.zoo.palettes import PALETTES, pick_colour, shade
from engine.errors import InvalidInput


def composed(glyphs: NDArray[np.uint8], seed: int, **options: str) -> NDArray[np.uint8]:
    arranged = {"layout": "single", "backdrop": "plain", "palette": "any", **options}
    return np.asarray(compose(glyphs, np.random.default_rng(seed), **arranged))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backdrop", BACKDROPS)
def test_a_picture_depends_on_its_seed_alone(glyphs: NDArray[np.uint8], layout: str, backdrop: str) -> None:
    first = composed(glyphs, 3, layout=layout, backdrop=backdrop)
    assert first.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    np.testing.assert_array_equal(first, composed(glyphs, 3, layout=layout, backdrop=backdrop))
    assert (first != composed(glyphs, 4, layout=layout, backdrop=backdrop)).any()


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_placements_are_of_existing_drawings_near_the_picture(layout: str, count: int, seed: int) -> None:
    placements = LAYOUTS[layout](count, np.random.default_rng(seed))
    assert placements
    for placement in placements:
        assert 0 <= placement.glyph < count
        assert 0 <= placement.x <= 1
        assert 0 <= placement.y <= 1
        assert placement.width > 0


def test_a_drawing_lies_where_it_is_placed(glyphs: NDArray[np.uint8]) -> None:
    picture = BACKDROPS["plain"]((0, 0, 0), np.random.default_rng(0))
    place(picture, glyphs[0], Placement(0.25, 0.75, 0.4, 0.0, 0, False))
    red = np.asarray(picture)[..., 0] > 100
    rows, columns = np.nonzero(red)
    assert rows.mean() / PICTURE_SIZE == pytest.approx(0.75, abs=0.03)
    assert columns.mean() / PICTURE_SIZE == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("option", ["layout", "backdrop", "palette"])
def test_an_unknown_option_is_refused_with_the_choices(glyphs: NDArray[np.uint8], option: str) -> None:
    with pytest.raises(InvalidInput, match=f"no {option} 'odd'") as caught:
        composed(glyphs, 0, **{option: "odd"})
    assert "choose one of" in str(caught.value.hint)


@pytest.mark.parametrize("palette", ["any", *PALETTES])
def test_a_palette_gives_its_own_colours(palette: str) -> None:
    rng = np.random.default_rng(0)
    drawn = {"#{:02x}{:02x}{:02x}".format(*pick_colour(palette, rng)) for _ in range(80)}
    if palette == "any":
        assert len(drawn) == 80
    else:
        assert drawn == set(PALETTES[palette])


@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(0, 3))
def test_shades_stay_colours(colour: tuple[int, int, int], factor: float) -> None:
    assert all(0 <= channel <= 255 for channel in shade(colour, factor))
    assert shade(colour, 1.0) == colour
