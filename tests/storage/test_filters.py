"""Filters: every key, several values, negation, case, remarks, and whatever else a caller may write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import InvalidFilter
from engine.filters import text_to_values, values_to_text
from engine.records import EncoderIdentity, Ingested, Statistics
from engine.storage import Catalog, Database


@pytest.fixture(scope="module")
def zoo(new_collection: Callable[[], str]) -> Iterator[Catalog]:
    """Five models that differ in every field that can be filtered by. These tests only read it."""
    database = Database(new_collection(), Settings())
    catalog = Catalog(database)
    encoder = catalog.register_encoder(EncoderIdentity("external:test", "f" * 64, 2, 10.0, frozenset()))
    statistics = Statistics(np.ones(2, np.float32), None, 1e-4, 5)

    def put(name: str, **details: object) -> None:
        catalog.put(Ingested(name, details, statistics, {}, "d"), encoder)

    put("ant", tags=["animal", "small"], kind="gan", author="Ann", license="MIT", base_model="a")
    put("bee", tags=["Animal", "small", "yellow"], kind="vae", author="Bob", license="MIT", metadata={"stars": 5})
    put("cat", tags=["animal"], kind="GAN", author="Ann", base_model="b", metadata={"Stars": ["4", 5], "a.b": "x"})
    put("dot", kind="procedural", author="O'Neil", license="CC0", metadata={"ok": True, "rating": 2.5, "étoiles": "4"})
    put("Été", tags=["STRASSE", "a, b"], kind="procedural", author="Ömer Ünal", metadata={"Étoiles": "Größe 3"})
    yield catalog
    database.close()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (None, "ant bee cat dot Été"), ({}, "ant bee cat dot Été"), ([], "ant bee cat dot Été"),
        ({"tag": "animal"}, "ant bee cat"), ({"tag!": "animal"}, "dot Été"), ({"tag": ["small", "yellow"]}, "ant bee"),
        ({"tag!": ["yellow", "nothing"]}, "ant cat dot Été"), ([("tag", "small"), ("tag", "yellow")], "bee"),
        ([("tag", "animal"), ("tag!", "small")], "cat"), ({"tag": "anima_"}, ""), ({"tag": "%"}, ""),
        ({"kind": "gan"}, "ant cat"), ({"kind": ["gan", "vae"]}, "ant bee cat"), ({"kind!": "gan"}, "bee dot Été"),
        ({"author": "Ann", "kind": "gan"}, "ant cat"), ({"author!": ["Ann", "Bob"]}, "dot Été"),
        ({"author": "O'Neil"}, "dot"), ({"license": "MIT"}, "ant bee"), ({"licence": "MIT"}, "ant bee"),
        ({"license!": "MIT"}, "cat dot Été"), ({"base_model": "a"}, "ant"), ({"base_model!": "a"}, "bee cat dot Été"),
        ({"name": ["ant", "dot"]}, "ant dot"), ({"name!": "ant"}, "bee cat dot Été"), ({"tag": ("small",)}, "ant bee"),
        ({"tag": {"small"}}, "ant bee"), ({"name": "x' OR '1'='1"}, ""), ({"tag": "x'); DROP TABLE models; --"}, ""),
        ({"tag": ""}, ""), ({"tag": "small,yellow"}, "ant bee"), ({"kind": "gan, vae"}, "ant bee cat"),
        ({"tag!": "small,strasse"}, "cat dot"), ({"tag": r"a\, b"}, "Été"), ({"tag": "a, b"}, ""),
        ({"tag": ["a, b"]}, "Été"), ({"-tag": "animal"}, "dot Été"), ({"!tag": "animal"}, "dot Été"),
        ({"name~": "t"}, "ant cat dot Été"), ({"name~!": "t"}, "bee"), ({"-name~": "t"}, "bee"),
        ({"title": "an,EE"}, "ant bee"), ({"tag~": "mal,asse"}, "ant bee cat Été"), ({"license~": "_"}, ""),
        ({"author~": "'n"}, "dot"), ({"base_model~!": "a"}, "bee cat dot Été"),
    ],
)  # fmt: skip
def test_filters(zoo: Catalog, where, names: str) -> None:
    found = zoo.models(where)
    assert [model.name for model in found] == names.split()
    ids, remarks = zoo.matching(where)
    if where is not None:
        assert ids.tolist() == [model.id for model in found]
        assert ids.dtype == np.int64
    assert found.remarks == remarks == zoo.remarks(where)
    assert zoo.count() == 5


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"kind": "Gan"}, "ant cat"), ({"TAG": "ANIMAL"}, "ant bee cat"), ({"name": "ANT"}, "ant"),
        ({"name": "éTÉ"}, "Été"), ({"name": "ete"}, ""), ({"tag": "straße"}, "Été"),
        ({"tag!": "straẞe"}, "ant bee cat dot"),
        ({"author": "ömer üNAL"}, "Été"), ({"author~": "ÜN"}, "Été"), ({"author~": "er "}, "Été"),
        ({"author~": "b,ün"}, "bee Été"), ({"license": "mit,Cc0"}, "ant bee dot"),
        ({"meta.étoiles": "4,größe 3"}, "dot Été"),
        ({"meta.ÉTOILES~": "GRÖSSE"}, "Été"), ({"\u212aind": "gan"}, "ant cat"),
    ],
)  # fmt: skip
def test_case_is_ignored_on_both_databases(zoo: Catalog, where, names: str) -> None:
    assert [model.name for model in zoo.models(where)] == names.split()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"meta.stars": "5"}, "bee cat"), ({"meta.stars": "4,5"}, "bee cat"), ({"META.Stars": "4"}, "cat"),
        ({"meta.stars!": "5"}, "ant dot Été"), ([("meta.stars", "4"), ("meta.stars", "5")], "cat"),
        ({"meta.ok": "True"}, "dot"),
        ({"meta.rating": "2.5"}, "dot"), ({"meta.a.b": "x"}, "cat"), ({"meta.stars~": "5"}, "bee cat"),
        ({"meta.rat": "2"}, ""),
    ],
)  # fmt: skip
def test_metadata_is_reached(zoo: Catalog, where, names: str) -> None:
    assert [model.name for model in zoo.models(where)] == names.split()


@pytest.mark.parametrize(
    "where",
    [
        {"": "x"}, {"!": "x"}, {"-": "x"}, {"~": "x"}, {"tag!!": "x"}, {"-tag!": "x"}, {"id": "1"}, {"metadata": "x"},
        {5: "x"}, {"meta.": "x"}, {"meta": "x"}, {"meta.\ud800": "x"}, {"meta.a": "\0"}, {" tag": "x"},
        {"tag": 5}, {"tag": None}, {"tag": []}, {"tag": [None]}, {"tag": ["a", 5]}, {"tag": {"a": "b"}},
        ["tag"], [("tag",)], [("tag", "a", "b")], "tag=animal", 5, {"tag": "\ud800"}, {"name": "\ud800"},
        {"name~": ["\ud800"]}, {"tag": "a\0b"}, {"\ud800": "x"}, {"name": ["x"] * 40_000}, {"name~": ["x"] * 201},
        {"name": "x," * 2000}, {"tag; DROP TABLE models": "x"}, [None],
        [("tag", "animal")] * 101, {f"meta.k{number}": "x" for number in range(2000)},
    ],
)  # fmt: skip
def test_filters_that_are_refused(zoo: Catalog, where) -> None:
    for ask in (zoo.models, zoo.matching, zoo.remarks):
        with pytest.raises(InvalidFilter) as caught:
            ask(where)
        f"{caught.value.message}{caught.value.hint}".encode()


def test_a_text_is_no_filter(zoo: Catalog) -> None:
    with pytest.raises(InvalidFilter, match="a mapping or a list of pairs, got 'tag=animal'"):
        zoo.models("tag=animal")


@pytest.mark.parametrize(
    ("key", "nearest"), [("tags", "tag"), ("-Tag_", "tag"), ("licens", "license"), ("basemodel~", "base_model")]
)
def test_the_nearest_key_is_named(zoo: Catalog, key: str, nearest: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        zoo.models({key: "x"})
    assert key in caught.value.message
    assert caught.value.hint
    assert caught.value.hint.startswith(f"did you mean {nearest}")


@pytest.mark.parametrize(
    ("where", "remarks"),
    [
        ({"tag": "anmal"}, ["no model is tagged anmal; did you mean animal?"]),
        ({"tag": "animal,Yelow"}, ["no model is tagged Yelow; did you mean yellow?"]),
        ({"tag!": "anmal"}, ["no model is tagged anmal; did you mean animal?"]),
        ({"name": "ANTT"}, ["no model is named ANTT; did you mean ant?"]),
        ({"kind": "gann", "author": "Bob"}, ["no model has the kind gann; did you mean gan?"]),
        ({"author": "zzz", "license": "GPL"}, ["no model is by zzz", "no model has the license GPL"]),
        ([("tag", "qq"), ("-tag", "qq")], ["no model is tagged qq"]),
        ({"name~": "t,zz,üü"}, ["no model's name contains zz", "no model's name contains üü"]),
        ({"meta.stars": "5,{}"}, ["no model has the stars {}"]),
        ({"meta.star": "5"}, ["no model's metadata has star; did you mean stars?"]),
        ({"tag": "strasse"}, []), ({"tag": "animal", "kind": "procedural"}, []),
        ({"tag": ""}, ["no model is tagged ''"]),
    ],
)  # fmt: skip
def test_a_value_that_no_model_has_is_told(zoo: Catalog, where, remarks: list[str]) -> None:
    assert list(zoo.models(where).remarks) == remarks


def test_remarks_are_few(zoo: Catalog) -> None:
    """However many values are missing, only the first few are looked for among the others."""
    remarks = zoo.remarks([("tag", [f"animal{i}" for i in range(500)]), ("kind", "gann")])
    assert len(remarks) == 21
    assert sum("did you mean" in one for one in remarks) == 3
    assert remarks[-1] == "no model has 481 other values of the filter"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]), (" a , b ", ["a", "b"]), (r"a\, b", ["a, b"]), ("", [""]), ("a,,b", ["a", "", "b"]),
        (",", ["", ""]),
        (r"C:\x", [r"C:\x"]), (r"a\\,b", ["a\\", "b"]),
        (r"a\\\,b", ["a\\,b"]), ("a\\", ["a\\"]), ("a\n,b", ["a", "b"]),
    ],
)  # fmt: skip
def test_a_comma_means_any_of(text: str, values: list[str]) -> None:
    assert list(text_to_values(text)) == values
    assert list(text_to_values(values_to_text(values))) == values


def test_limits_hold_for_all_conditions_together(zoo: Catalog) -> None:
    for where, said in (
        ([("tag", ["x"] * 20)] * 51, "1,000 values in all its conditions, got 1,020"),
        ([("name~!", [f"{i}" for i in range(50)])] * 100, "1,000 values in all its conditions, got 5,000"),
        ([("name~!", ["x"] * 50)] * 5, "200 parts (~) in all its conditions, got 250"),
        ([("tag", ["x" * 2000])] * 40, "65,536 characters"), ({"meta." + "x" * 70_000: "a"}, "65,536 characters"),
    ):  # fmt: skip
        started = time.process_time()
        with pytest.raises(InvalidFilter) as caught:
            zoo.models(where)
        assert said in caught.value.message
        assert time.process_time() - started < 1


def test_all_that_is_allowed_is_answered(zoo: Catalog) -> None:
    parts = [("name~!", [f"zz{i}q{j}" for j in range(2)]) for i in range(100)]
    assert len(zoo.models(parts)) == 5
    assert len(zoo.models([("name~", [*(f"zz{i}" for i in range(199)), "ee"])])) == 1
    assert len(zoo.models([("name", ["x" * 60_000, "ant"])])) == 1
    assert len(zoo.models([("name~", ["x" * 60_000, "an"])])) == 1
    assert len(zoo.models([("tag!", [f"t{i}x{j}" for j in range(10)]) for i in range(100)])) == 5


def test_many_parts_over_many_models_take_seconds_at_most(new_collection: Callable[[], str]) -> None:
    with Engine.open(new_collection()) as engine:
        names = [f"artist{i % 97}/model-number-{i:06d}" for i in range(5000)]
        engine.ingest_statistics(names, np.ones((5000, 2)), encoder="external:mine", samples=5)
        started = time.process_time()
        where = [("name~!", [f"zz{i}q{j}" for j in range(50)]) for i in range(4)]
        assert len(engine.models(where)) == 5000
        assert time.process_time() - started < 5  # 0.2 on an idle machine
