"""The full zoo: the demo's models, and those of ``models.txt``; which part each belongs to; what unseen queries judge.

The zoo has two disjoint parts: transforms are trained on *synthetic* and tested on *main*. They share no concept: a
concept's models all lie on one side, fine-tunes with the family of their base, procedural styles by a list.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from benchmarks.zoo.catalogue import CATALOGUE, TAGS, Entry

LISTED = Path(__file__).parent / "models.txt"
SYNTHETIC_CONCEPTS = frozenset({
    "animal-faces", "birds", "fruit", "flowers", "houses", "instruments", "meals", "ships-planes", "moons", "people",
    "household", "festive", "arrows", "reptiles",
})  # fmt: skip
SYNTHETIC_STYLES = frozenset({
    "adventurer-neutral", "big-ears-neutral", "boring-beam", "boring-marble", "croodles", "dylan", "identicon",
    "lorelei-neutral", "minidenticons", "notionists", "pixel-art-neutral", "shapes", "toon-head",
})  # fmt: skip
"""Procedural styles of the synthetic part."""
MANY = 2400
SAMPLES = 500
FIELDS = 7


@cache
def full_catalogue() -> tuple[Entry, ...]:
    """Every model of the zoo, the demo's first."""
    entries = (*CATALOGUE, *read_entries(LISTED))
    names = [entry.name for entry in entries]
    doubled = sorted({name for name in names if names.count(name) > 1})
    assert not doubled, f"names are given twice: {doubled}"
    assert all(set(entry.tags) <= set(TAGS) for entry in entries)
    return entries


def read_entries(path: Path) -> list[Entry]:
    """The models of a table like ``models.txt``, which says what its columns are."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|")]
        assert len(fields) == FIELDS, f"{path.name}, line {number}: {FIELDS} fields are needed, there are {len(fields)}"
        kind, style, concept, how, tags, description, query = fields
        options = {"style": style, "concept": concept}
        name = f"{style}-{concept}" if kind == "sampler" else f"{kind}-{style}-{concept}"
        if kind == "finetune":
            name, options["label"] = f"finetune-{style}-{how}", how
        elif how:
            layout, backdrop, palette = how.split()
            options |= {"layout": layout, "backdrop": backdrop, "palette": palette}
        entries.append(Entry(name, kind, description, query, tuple(tags.split()), options))
    return entries


def entry_to_part(entry: Entry) -> str:
    """``synthetic`` or ``main``."""
    if entry.kind == "procedural":
        return "synthetic" if entry.options["style"] in SYNTHETIC_STYLES else "main"
    return "synthetic" if entry.options["concept"] in SYNTHETIC_CONCEPTS else "main"


def quick_catalogue(count: int = 60) -> tuple[Entry, ...]:
    """A small zoo: every kind in its share of the whole, evenly spread over its list."""
    entries = full_catalogue()
    kinds = {kind: [e for e in entries if e.kind == kind] for kind in dict.fromkeys(e.kind for e in entries)}
    chosen: set[str] = set()
    for group in kinds.values():
        wanted = max(2, round(count * len(group) / len(entries)))
        chosen.update(group[i * len(group) // wanted].name for i in range(wanted))
    return tuple(entry for entry in entries if entry.name in chosen)[:count]


def many_samples(entries: tuple[Entry, ...], count: int = 30) -> frozenset[str]:
    """The models that get ``MANY`` samples, for the study of sample size: every kind that draws fast enough."""
    fast = [entry.name for entry in entries if entry.kind != "procedural"]
    return frozenset(fast[i * len(fast) // count] for i in range(count)) if len(fast) >= count else frozenset(fast)
