"""The full zoo's catalogue: size, kinds, parts that share no concept, an unseen artist who is really unseen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.compact.pictures import ARTISTS as TRAINED
from benchmarks.compact.pictures import GLYPHS
from benchmarks.zoo.artists import ARTISTS, UNSEEN
from benchmarks.zoo.catalogue import CATALOGUE
from benchmarks.zoo.compose import BACKDROPS, LAYOUTS
from benchmarks.zoo.families import FAMILIES
from benchmarks.zoo.full import entry_to_part, full_catalogue, many_samples, quick_catalogue, read_entries
from benchmarks.zoo.palettes import PALETTES
from benchmarks.zoo.queries import Plan

ENTRIES = full_catalogue()


def test_it_is_as_large_as_was_asked() -> None:
    kinds = Counter(entry.kind for entry in ENTRIES)
    assert len(ENTRIES) >= 250
    assert len(kinds) >= 6
    assert min(kinds.values()) >= 10
    assert ENTRIES[: len(CATALOGUE)] == CATALOGUE


def test_parts_are_disjoint_in_models_and_concepts() -> None:
    parts: dict[str, set[str]] = {"synthetic": set(), "main": set()}
    for entry in ENTRIES:
        if entry.kind != "procedural":
            parts[entry_to_part(entry)].add(entry.options["concept"])
    assert not parts["synthetic"] & parts["main"]
    assert min(Counter(map(entry_to_part, ENTRIES)).values()) >= 100


def test_everything_it_names_exists() -> None:
    for entry in ENTRIES:
        if entry.kind == "procedural":
            continue
        assert entry.options["style"] in ARTISTS
        assert entry.options["concept"] in FAMILIES
        assert entry.options.get("layout", "single") in LAYOUTS
        assert entry.options.get("backdrop", "plain") in BACKDROPS
        assert entry.options.get("palette", "any") in {*PALETTES, "any"}


def test_the_unseen_artist_is_in_no_model_and_no_training_set() -> None:
    package = ARTISTS[UNSEEN].package
    assert package not in {*TRAINED, GLYPHS}
    assert UNSEEN not in {entry.options.get("style") for entry in ENTRIES}


def test_hard_cases_are_there_on_purpose() -> None:
    drawn = Counter(entry.options["concept"] for entry in ENTRIES if entry.kind == "sampler")
    styles = Counter(entry.options["style"] for entry in ENTRIES if entry.kind == "sampler")
    assert sum(count >= 3 for count in drawn.values()) >= 15, "the same content in several styles"
    assert min(styles.values()) >= 3, "the same style with several contents"


def test_descriptions_and_queries_are_each_their_own() -> None:
    for field in ("description", "query"):
        values = [getattr(entry, field) for entry in ENTRIES]
        assert len(set(values)) == len(values), field
        assert all(values)
    assert not [e.name for e in ENTRIES if e.query.lower() in e.description.lower()]


def test_a_quick_zoo_has_every_kind() -> None:
    quick = quick_catalogue()
    assert len(quick) == 60
    assert {entry.kind for entry in quick} == {entry.kind for entry in ENTRIES}
    assert len(many_samples(ENTRIES)) == 30


def test_a_bad_line_names_its_place(tmp_path: Path) -> None:
    path = tmp_path / "models.txt"
    path.write_text("# fine\n\ngan | noto | birds\n")
    with pytest.raises(AssertionError, match=r"models\.txt, line 3"):
        read_entries(path)


def test_a_plan_sketches_by_both_methods_or_in_turn() -> None:
    assert Plan(images=3, sketches=2).sketched() == [(0, "xdog", "-sketch"), (1, "canny", "-sketch")]
    both = Plan(images=3, sketches=2, both=True).sketched()
    assert both == [(0, "canny", "-canny"), (0, "xdog", "-xdog"), (1, "canny", "-canny"), (1, "xdog", "-xdog")]
