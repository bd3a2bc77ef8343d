"""Queries of several parts of one kind, and their weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import Engine
from engine.errors import EngineError, InvalidQuery
from engine.records import Part

NAMES = ("ant", "bee", "cat", "dog")


@pytest.fixture(scope="module")
def eng(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Four models under the compact encoder's dimension, so that texts can be asked."""
    folder = tmp_path_factory.mktemp("parts")
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as eng:
        encoder = eng.services.session.load_encoder("compact")
        rng = np.random.default_rng(3)
        means = encoder.texts_to_features(list(NAMES)) + 0.05 * rng.normal(size=(4, encoder.identity.dimension))
        eng.ingest_statistics(NAMES, means.astype(np.float32), encoder="compact", samples=10)
        yield eng


def by_name(eng: Engine, **query: object) -> dict[str, float]:
    return {hit.name: hit.score for hit in eng.search(k=4, **query)}


def test_two_texts_stand_side_by_side(eng: Engine) -> None:
    hits = eng.search(text=["an ant", "a bee"], k=4, tempered=False)
    assert all(list(hit.parts) == ["text", "text_2"] for hit in hits)
    scale = eng.encoders()[0].logit_scale
    one, other = by_name(eng, text="an ant"), by_name(eng, text="a bee")
    for hit in hits:
        assert hit.score == pytest.approx(scale * (one[hit.name] + other[hit.name]), rel=1e-5)
        assert hit.parts["text_2"] == pytest.approx(scale * other[hit.name], rel=1e-5)


def test_parts_are_weighed_by_their_names(eng: Engine) -> None:
    parts = [Part("text", "an ant", name="first"), Part("text", "a bee", weight=3.0)]
    hits = eng.search(parts=parts, k=4, tempered=False)
    assert all(list(hit.parts) == ["first", "text"] for hit in hits)
    again = eng.search(text="a bee", parts=[Part("text", "an ant", name="first")], weights={"text": 3.0}, k=4,
                       tempered=False)  # fmt: skip
    assert [hit.name for hit in hits] == [hit.name for hit in again]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in again])


def test_a_lone_parts_weight_counts(eng: Engine) -> None:
    plain, heavy = by_name(eng, text="an ant"), by_name(eng, text="an ant", weights={"text": 2.5})
    assert heavy == {name: pytest.approx(2.5 * score) for name, score in plain.items()}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"parts": [Part("sound", "a bark")]}, "unknown modality 'sound'"),
        (
            {"parts": [Part("text", "a", name="x"), Part("text", "b", name="x")]},
            "two parts of the query are called 'x'",
        ),
        ({"parts": "a fox"}, "parts must be a list of Part"),
        ({"parts": ["a fox"]}, "parts must be a list of Part"),
        ({"text": []}, "there is no query"),
        ({"text": ["a", "b"], "weights": {"text_3": 2}}, "this query has text, text_2"),
        ({"parts": [Part("text", "a", weight=0)]}, "the weight of text"),
        ({"text": ["a", ""]}, "text that is not empty"),
        ({"text": "a", "shortlists": 3}, "search takes no option 'shortlists'"),
    ],
)
def test_what_is_no_query_is_refused(eng: Engine, query: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        eng.search(**query)
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_pictures_of_one_kind_stand_side_by_side(eng: Engine, tmp_path: Path) -> None:
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ([200, 0, 0], [0, 0, 200]))
    parts = [Part("image", red), Part("image", blue, weight=0.5)]
    hits = eng.search(parts=parts, method="first_moment", k=4)
    assert all(list(hit.parts) == ["image", "image_2"] for hit in hits)
    with pytest.raises(EngineError):
        eng.search(parts=[Part("image", tmp_path / "none.png")])
