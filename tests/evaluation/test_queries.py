"""Reading judged queries, and every way in which a line can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import Engine
from engine.errors import EngineError, InvalidImage, InvalidInput, InvalidQuery, ModelNotFound, SourceNotFound
from engine.evaluation import QUERY_KEYS, read_queries


def test_queries_of_a_file(queries: Path) -> None:
    read = read_queries(queries)
    assert len(read) == 24
    mixed = read[5]
    assert (mixed.models, mixed.modality, mixed.group, mixed.place) == (
        ("red",),
        "image+text",
        None,
        "queries.jsonl line 6",
    )
    assert list(mixed.given) == ["text", "image"]
    assert mixed.given["image"] == queries.parent / "red-0.png"
    assert {query.modality for query in read} == {"image", "sketch", "text", "image+text"}


def test_a_list_takes_pictures_and_arrays() -> None:
    black = Image.new("RGB", (2, 2))
    read = read_queries([{"model": "a", "image": black}, {"model": "b", "sketch": np.zeros((2, 2, 3), np.uint8)}])
    assert read[0].given["image"] is black
    assert read[1].place == "query 2"


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("{", InvalidQuery, "not a line of JSON"),
        ('{"model": "red", "text": NaN}', InvalidQuery, "NaN is not JSON"),
        ('{"model": "red", "model": "red", "text": "red"}', InvalidQuery, "twice"),
        ("[1]", InvalidQuery, "JSON object, got list"),
        ('{"model": "red", "txt": "red"}', InvalidQuery, "unknown key 'txt'"),
        ('{"model": "red", "text": "red", "weight": 2}', InvalidQuery, "unknown key 'weight'"),
        ('{"text": "red"}', InvalidQuery, "'model' must be the name"),
        ('{"model": 3, "text": "red"}', InvalidQuery, "'model' must be the name"),
        ('{"model": "red"}', InvalidQuery, "nothing is asked"),
        ('{"model": "red", "text": null}', InvalidQuery, "nothing is asked"),
        ('{"model": "red", "text": " "}', InvalidQuery, "'text' must be text"),
        ('{"model": "red", "text": "red", "group": 1}', InvalidQuery, "'group' must be text"),
        ('{"model": "red", "text": "red", "concept": ["fox"]}', InvalidQuery, "'concept' must be text"),
        ('{"model": "red", "text": "red", "concept": " "}', InvalidQuery, "'concept' must be text"),
        ('{"model": "red", "models": ["red", "blue"], "text": "red"}', InvalidQuery, "both 'model' and 'models'"),
        ('{"models": [], "text": "red"}', InvalidQuery, "'models' must be a list of one or more names"),
        ('{"models": "red", "text": "red"}', InvalidQuery, "'models' must be a list of one or more names"),
        ('{"models": ["red", 3], "text": "red"}', InvalidQuery, "'models' must be a list of one or more names"),
        ('{"models": ["red", ""], "text": "red"}', InvalidQuery, "'models' must be a list of one or more names"),
        ('{"models": {"red": 1}, "text": "red"}', InvalidQuery, "'models' must be a list of one or more names"),
        ('{"models": ["red", "blue", "red"], "text": "red"}', InvalidQuery, "names 'red' twice"),
        ('{"models": ["red", "rad"], "text": "red"}', ModelNotFound, "no model named 'rad'"),
        ('{"model": "red", "image": 7}', InvalidQuery, "'image' must be a path"),
        ('{"model": "red", "image": "gone.png"}', SourceNotFound, "there is no image"),
        ('{"model": "red", "sketch": "a\\u0000b"}', SourceNotFound, "there is no sketch"),
        ('{"model": "rad", "text": "red"}', ModelNotFound, "no model named 'rad'"),
        ('{"model": "red", "image": "judged.jsonl"}', InvalidImage, "judged.jsonl"),
    ],
)
def test_a_bad_line_is_named(line: str, error: type[EngineError], said: str, eng: Engine, write) -> None:
    path = write('{"model": "red", "text": "red"}\n\n' + line + "\n")
    with pytest.raises(error, match=r"judged\.jsonl line 3: ") as caught:
        eng.evaluate(path)
    assert said in caught.value.message
    assert caught.value.hint


def test_the_keys_that_are_allowed_are_said(write) -> None:
    with pytest.raises(InvalidQuery) as caught:
        read_queries(write('{"model": "red", "txt": "red"}'))
    assert all(key in str(caught.value.hint) for key in QUERY_KEYS)


def test_a_near_name_is_proposed(eng: Engine) -> None:
    with pytest.raises(ModelNotFound, match=r"\(2 such queries\)") as caught:
        eng.evaluate([{"model": "rde", "text": "red"}] * 2)
    assert caught.value.hint == "did you mean red?"


def test_a_line_with_two_strange_names_is_one_query(eng: Engine) -> None:
    with pytest.raises(ModelNotFound, match=r"no model named 'rde'$"):
        eng.evaluate([{"models": ["rde", "bleu"], "text": "red"}])


def test_several_right_models() -> None:
    one, several, named = read_queries(
        [
            {"model": "b", "models": None, "text": "x"},
            {"models": ["b", "a"], "text": "x"},
            {"models": ["b", "a"], "text": "x", "concept": "fox"},
        ]
    )
    assert (one.models, one.owner) == (("b",), ("b",))
    assert (several.models, several.owner, several.concept) == (("b", "a"), ("a", "b"), None)
    assert named.owner == ("fox",)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_no_queries(text: str, write) -> None:
    with pytest.raises(InvalidQuery, match="no judged queries"):
        read_queries(write(text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="cannot be read"):
        read_queries(tmp_path / "gone.jsonl")
    with pytest.raises(SourceNotFound):
        read_queries(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"methods": ["nonsense"]}, "no method 'nonsense'"),
        ({"methods": []}, "one or more"),
        ({"methods": ["auto", "auto"]}, "each once"),
        ({"methods": ["gaussian_density"]}, "none of the queries"),
        ({"shortlist": 0}, "shortlist"),
        ({"resamples": 0}, "resamples"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_bad_options(given: dict[str, Any], said: str, eng: Engine, encoder) -> None:
    with pytest.raises(InvalidInput, match=said):
        eng.evaluate([{"model": "red", "text": "red"}], **given)
    assert encoder.texts == 0, "nothing is encoded for a command that cannot be done"
