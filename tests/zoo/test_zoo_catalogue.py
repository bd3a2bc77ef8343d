"""The catalogue is data that people wrote: it must hold together."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.zoo.artists import ARTISTS
from benchmarks.zoo.catalogue import CATALOGUE, TAGS, Entry
from benchmarks.zoo.compose import BACKDROPS, LAYOUTS
from benchmarks.zoo.families import FAMILIES, family, family_to_labels
from benchmarks.zoo.palettes import PALETTES
from engine.errors import InvalidInput

everyone = pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)


def test_there_are_enough_models_of_every_kind() -> None:
    kinds = Counter(entry.kind for entry in CATALOGUE)
    assert sum(kinds.values()) >= 60
    assert set(kinds) == {"procedural", "sampler", "pca", "vae"}


def test_names_descriptions_and_queries_are_nobody_elses() -> None:
    for field in ("name", "description", "query"):
        values = Counter(getattr(entry, field).lower() for entry in CATALOGUE)
        assert [value for value, times in values.items() if times > 1] == []


def test_every_tag_of_the_vocabulary_is_used() -> None:
    assert len(set(TAGS)) == len(TAGS)
    assert {tag for entry in CATALOGUE for tag in entry.tags} == set(TAGS)


@everyone
def test_texts_and_tags(entry: Entry) -> None:
    assert entry.description[0].isupper()
    assert entry.description.endswith(".")
    assert len(entry.description.split()) >= 4
    assert entry.query.lower().strip(".") not in entry.description.lower()
    assert entry.tags
    assert set(entry.tags) <= set(TAGS)


@everyone
def test_options_name_things_that_exist(entry: Entry) -> None:
    if entry.kind == "procedural":
        return  # the node program says what styles there are: see test_zoo_node.py
    assert entry.options["style"] in ARTISTS
    assert entry.options["concept"] in FAMILIES
    assert entry.options.get("layout", "single") in LAYOUTS
    assert entry.options.get("backdrop", "plain") in BACKDROPS
    assert entry.options.get("palette", "any") in {"any", *PALETTES}


def test_no_two_samplers_are_the_same_model() -> None:
    made = [tuple(sorted(entry.options.items())) for entry in CATALOGUE if entry.kind != "procedural"]
    kinds = [entry.kind for entry in CATALOGUE if entry.kind != "procedural"]
    assert len(set(zip(kinds, made, strict=True))) == len(made)


def test_there_are_twins_that_only_the_artist_tells_apart() -> None:
    arranged = Counter(
        tuple(sorted((key, value) for key, value in entry.options.items() if key != "style"))
        for entry in CATALOGUE
        if entry.kind == "sampler"
    )
    assert sum(times > 1 for times in arranged.values()) >= 5


def test_a_family_is_picked_by_subgroup_keyword_and_label() -> None:
    emoji = [
        {"label": "full moon", "subgroup": 59, "tags": ["moon"]},
        {"label": "sun", "subgroup": 59, "tags": ["star"]},
        {"label": "poodle", "subgroup": 34, "tags": ["dog"]},
        {"label": "moon cake", "subgroup": 45, "tags": ["moon"]},
    ]
    groups = {"59": "sky-weather", "34": "animal-mammal", "45": "food-asian"}
    assert family_to_labels(family("moons"), emoji, groups) == ["full moon"]
    assert family_to_labels(family("dogs"), emoji, groups) == ["poodle"]


def test_tones_follow_the_plain_drawing() -> None:
    skins = [{"label": f"waving hand: {tone} skin tone"} for tone in ("light", "medium-light", "medium", "dark")]
    emoji = [{"label": "waving hand", "subgroup": 16, "skins": skins}]
    assert family_to_labels(family("hands"), emoji, {"16": "hand-fingers-open"}) == [
        "waving hand",
        "waving hand: light skin tone",
        "waving hand: medium skin tone",
        "waving hand: dark skin tone",
    ]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unicorns") as caught:
        family("unicorns")
    assert "birds" in str(caught.value.hint)
