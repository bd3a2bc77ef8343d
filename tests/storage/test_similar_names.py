"""Names that are suggested where there is no such model: found quickly among many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine import Engine
from engine.errors import ModelNotFound
from engine.texts import suggestion

MANY = 8000


@pytest.fixture(scope="module")
def zoo(new_collection: Callable[[], str]) -> Iterator[Engine]:
    """Many names, alike and with a word of their own."""
    with Engine.open(new_collection()) as engine:
        names = [f"artist{i % 97}/model-{i:05d}-{'abcdefghij' * 3}" for i in range(MANY)]
        names += ["Nightingale", "blue-heron"]
        engine.ingest_statistics(names, np.ones((len(names), 2)), encoder="external:mine", samples=5)
        yield engine


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("nightingale", "Nightingale"), ("Nightingle", "Nightingale"), ("ightingale", "Nightingale"),
        ("Mightingale", "Nightingale"), ("Nightingales", "Nightingale"), ("blue_heron", "blue-heron"),
        ("blueheron", "blue-heron"), ("artist3/model-00003-abcdefghijabcdefghijabcdefghi", "artist3/model-00003"),
    ],
)  # fmt: skip
def test_the_name_that_was_meant_is_suggested(zoo: Engine, given: str, meant: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        zoo.get(given)
    assert meant in (caught.value.hint or "")


@pytest.mark.parametrize(
    "given", ["artist3/model-99999-" + "abcdefghij" * 3, "artist3/model" * 7, "abcdefghij" * 10, "a" * 100, "%_" * 50,
              "x" * 30_000_000, "\0", "\ud800", "", "é" * 90],
)  # fmt: skip
def test_it_does_not_take_long(zoo: Engine, given: str) -> None:
    with pytest.raises(ModelNotFound):
        zoo.get("warm")
    started = time.process_time()
    with pytest.raises(ModelNotFound) as caught:
        zoo.get(given)
    assert time.process_time() - started < 0.5  # on a busy machine; 0.05 on an idle one
    assert len(caught.value.message) < 300


def test_a_suggestion_is_the_likest_and_of_bounded_length() -> None:
    assert suggestion("frechet", ["cosine", "frechet_", "fr"]) == "did you mean frechet_?"
    assert suggestion("x", ["y"], "otherwise") == "otherwise"
    words = (f"{'ab' * 127}{i}" for i in range(10**9))  # without end, and alike
    started = time.process_time()
    suggestion("ab" * 50, words)
    assert time.process_time() - started < 1
