"""Concept families: which captioned emoji belong together, by subgroup, keyword and label of ``emojibase-data``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import InvalidInput


@dataclass(frozen=True)
class Family:
    """A rule that picks emoji: (in one of ``subgroups``, or labelled so) and not ``without``.

    ``keywords`` narrows the subgroups to emoji that carry at least one of these words; ``tones`` adds the drawings in
    a light, a medium and a dark skin tone.
    """

    subgroups: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    tones: bool = False


def words(text: str) -> tuple[str, ...]:
    """``"a, b c"`` to ``("a", "b c")``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


FAMILIES = {
    "birds": Family(("animal-bird",), without=words("feather, wing, phoenix")),
    "cats": Family(("cat-face",), labels=words("cat face, cat, black cat")),
    "cat-faces": Family(("cat-face",), labels=words("cat face")),
    "dogs": Family(labels=words("dog face, dog, guide dog, service dog, poodle, wolf, fox")),
    "animal-faces": Family(
        labels=words(
            "dog face, cat face, monkey face, wolf, fox, lion, tiger face, horse face, unicorn, cow face, pig face, "
            "mouse face, hamster, rabbit face, bear, koala, panda, frog, raccoon, polar bear"
        )
    ),
    "sea-animals": Family(("animal-marine",)),
    "insects": Family(("animal-bug",), without=words("microbe, spider web, worm")),
    "fruit": Family(("food-fruit",), without=words("olive, tomato")),
    "vegetables": Family(("food-vegetable",)),
    "desserts": Family(("food-sweet",)),
    "drinks": Family(("drink",), without=words("baby bottle, ice")),
    "meals": Family(("food-prepared",), without=words("salt, butter, egg, canned food")),
    "flowers": Family(("plant-flower",), without=words("rosette")),
    "trees": Family(
        labels=words(
            "evergreen tree, deciduous tree, palm tree, cactus, leafless tree, Christmas tree, tanabata tree, "
            "potted plant, seedling, herb"
        )
    ),
    "cars": Family(
        labels=words(
            "bus, oncoming bus, trolleybus, minibus, ambulance, fire engine, police car, oncoming police car, taxi, "
            "oncoming taxi, automobile, oncoming automobile, sport utility vehicle, pickup truck, delivery truck, "
            "articulated lorry, tractor, racing car"
        )
    ),
    "houses": Family(
        ("place-building",), without=words("brick, rock, wood, Statue of Liberty, building construction, Tokyo tower")
    ),
    "weather": Family(
        labels=words(
            "sun, sun with face, cloud, sun behind cloud, cloud with lightning and rain, sun behind small cloud, "
            "sun behind large cloud, sun behind rain cloud, cloud with rain, cloud with snow, cloud with lightning, "
            "tornado, fog, wind face, rainbow, umbrella with rain drops, high voltage, snowflake, snowman"
        )
    ),
    "moons": Family(("sky-weather",), keywords=("moon",)),
    "clocks": Family(
        ("time",),
        keywords=("clock",),
        without=words("mantelpiece clock, timer clock, alarm clock, watch, stopwatch"),
    ),
    "smileys": Family(
        (
            "face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical", "face-sleepy",
            "face-unwell", "face-hat", "face-glasses", "face-concerned", "face-negative",
        ),
        without=words("skull, skull and crossbones"),
    ),
    "hearts": Family(("heart",), without=words("love letter, kiss mark")),
    "hands": Family(
        ("hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed", "hands"),
        without=words("middle finger, handshake"),
        tones=True,
    ),
    "workers": Family(("person-role",), without=words("ninja, breast-feeding")),
    "people": Family(("person",), tones=True),
    "sports": Family(("sport",), without=words("running shirt")),
    "balls": Family(
        labels=words("soccer ball, baseball, softball, basketball, volleyball, tennis, pool 8 ball, yarn, yo-yo")
    ),
    "instruments": Family(("musical-instrument",), labels=words("microphone, headphone, radio, postal horn, bell")),
    "tools": Family(("tool",), without=words("bomb, white cane, balance scale, link, broken chain, chains")),
    "clothes": Family(("clothing",), without=words("gem stone, ring, lipstick, hair pick, prayer beads")),
    "mammals": Family(
        labels=words(
            "monkey, gorilla, orangutan, tiger, leopard, horse, zebra, deer, bison, ox, water buffalo, cow, pig, boar, "
            "ram, ewe, goat, camel, two-hump camel, llama, giraffe, elephant, mammoth, rhinoceros, hippopotamus, "
            "mouse, rat, rabbit, chipmunk, beaver, hedgehog, bat, sloth, otter, skunk, kangaroo, badger"
        )
    ),
    "reptiles": Family(("animal-reptile", "animal-amphibian")),
    "asian-food": Family(("food-asian",)),
    "leaves": Family(("plant-other",), without=words("empty nest, nest with eggs, mushroom")),
    "trains": Family(
        labels=words(
            "locomotive, railway car, high-speed train, bullet train, train, metro, light rail, station, tram, "
            "monorail, mountain railway, tram car"
        )
    ),
    "ships-planes": Family(
        ("transport-water", "transport-air"),
        without=words("anchor, ring buoy, seat, suspension railway, mountain cableway, aerial tramway"),
    ),
    "two-wheelers": Family(
        labels=words("bicycle, motor scooter, motorcycle, kick scooter, auto rickshaw, skateboard, roller skate")
    ),
    "scenery": Family(
        ("place-geographic",),
        labels=words(
            "sunrise, sunset, cityscape, cityscape at dusk, bridge at night, night with stars, foggy, milky way, "
            "sunrise over mountains"
        ),
    ),
    "costumes": Family(("face-costume",), without=words("pile of poo")),
    "fantasy": Family(("person-fantasy",)),
    "athletes": Family(("person-sport",)),
    "household": Family(("household",)),
    "office": Family(("office", "writing")),
    "books": Family(("book-paper",)),
    "screens": Family(("light-video", "computer", "phone"), without=words("candle, diya lamp, red paper lantern")),
    "games": Family(("game",)),
    "festive": Family(("event",)),
    "zodiac": Family(("zodiac",)),
    "arrows": Family(("arrow",)),
    "science": Family(("science", "medical")),
    "money": Family(("money", "lock")),
}  # fmt: skip

# The tone after the colon in emojibase's English labels.
TONES = ("light skin tone", "medium skin tone", "dark skin tone")


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        InvalidInput: there is no such family.
    """
    if name not in FAMILIES:
        raise InvalidInput(f"no concept family {name!r}", hint=f"choose one of {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def family_to_labels(rule: Family, emoji: Iterable[Mapping[str, Any]], subgroups: Mapping[str, str]) -> list[str]:
    """The labels that a rule picks, in emojibase's order.

    Args:
        rule: the family.
        emoji: the records of ``emojibase-data/en/data.json``.
        subgroups: number (as text) to subgroup name, from ``emojibase-data/meta/groups.json``.
    """
    chosen: list[str] = []
    for record in emoji:
        label = str(record["label"])
        subgroup = subgroups.get(str(record.get("subgroup")), "")
        inside = subgroup in rule.subgroups and (
            not rule.keywords or not set(rule.keywords).isdisjoint(record.get("tags", ()))
        )
        if label in rule.without or not (inside or label in rule.labels):
            continue
        chosen.append(label)
        if rule.tones:
            skins = record.get("skins", ())
            chosen.extend(skin["label"] for skin in skins if skin["label"].split(": ")[-1] in TONES)
    return chosen
