"""Filters: every key, several values, negation, and whatever else a caller may write."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.config import Settings
from engine.errors import InvalidFilter
from engine.records import EncoderIdentity, Ingested, Statistics
from engine.storage import Catalog, Database


@pytest.fixture(scope="module")
def zoo(new_collection: Callable[[], str]) -> Iterator[Catalog]:
    """Four models that differ in every field that can be filtered by. These tests only read it."""
    database = Database(new_collection(), Settings())
    catalog = Catalog(database)
    encoder = catalog.register_encoder(EncoderIdentity("external:test", "f" * 64, 2, 10.0, frozenset()))
    statistics = Statistics(np.ones(2, np.float32), None, 1e-4, 5)

    def put(name: str, **details: object) -> None:
        catalog.put(Ingested(name, details, statistics, {}, "d"), encoder)

    put("ant", tags=["animal", "small"], kind="gan", author="Ann", license="MIT", base_model="a")
    put("bee", tags=["animal", "small", "yellow"], kind="vae", author="Bob", license="MIT")
    put("cat", tags=["animal"], kind="gan", author="Ann", base_model="b")
    put("dot", kind="procedural", author="O'Neil", license="CC0")
    yield catalog
    database.close()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (None, "ant bee cat dot"), ({}, "ant bee cat dot"), ([], "ant bee cat dot"),
        ({"tag": "animal"}, "ant bee cat"), ({"tag!": "animal"}, "dot"), ({"tag": ["small", "yellow"]}, "ant bee"),
        ({"tag!": ["yellow", "nothing"]}, "ant cat dot"), ([("tag", "small"), ("tag", "yellow")], "bee"),
        ([("tag", "animal"), ("tag!", "small")], "cat"), ({"tag": "anima_"}, ""), ({"tag": "%"}, ""),
        ({"kind": "gan"}, "ant cat"), ({"kind": ["gan", "vae"]}, "ant bee cat"), ({"kind!": "gan"}, "bee dot"),
        ({"author": "Ann", "kind": "gan"}, "ant cat"), ({"author!": ["Ann", "Bob"]}, "dot"),
        ({"author": "O'Neil"}, "dot"), ({"license": "MIT"}, "ant bee"), ({"licence": "MIT"}, "ant bee"),
        ({"license!": "MIT"}, "cat dot"), ({"base_model": "a"}, "ant"), ({"base_model!": "a"}, "bee cat dot"),
        ({"name": ["ant", "dot"]}, "ant dot"), ({"name!": "ant"}, "bee cat dot"), ({"tag": ("small",)}, "ant bee"),
        ({"tag": {"small"}}, "ant bee"), ({"kind": "GAN"}, ""), ({"name": "x' OR '1'='1"}, ""),
        ({"tag": "x'); DROP TABLE models; --"}, ""), ({"tag": ""}, ""),
    ],
)  # fmt: skip
def test_filters(zoo: Catalog, where, names: str) -> None:
    found = zoo.models(where)
    assert [model.name for model in found] == names.split()
    if where is not None:
        assert zoo.matching_ids(where).tolist() == [model.id for model in found]
        assert zoo.matching_ids(where).dtype == np.int64
    assert zoo.count() == 4


@pytest.mark.parametrize(
    "where",
    [
        {"colour": "red"}, {"": "x"}, {"!": "x"}, {"tag!!": "x"}, {"id": "1"}, {"metadata": "x"}, {5: "x"},
        {"tag": 5}, {"tag": None}, {"tag": []}, {"tag": [None]}, {"tag": ["a", 5]}, {"tag": {"a": "b"}},
        ["tag"], [("tag",)], [("tag", "a", "b")], "tag=animal", 5, {"tag": "\ud800"}, {"name": "\ud800"},
        {"name": ["x"] * 40_000}, {"tag; DROP TABLE models": "x"}, [None],
    ],
)  # fmt: skip
def test_filters_that_are_refused(zoo: Catalog, where) -> None:
    for ask in (zoo.models, zoo.matching_ids):
        with pytest.raises(InvalidFilter):
            ask(where)
