"""Concepts, what people call them, and which of them are for training, choosing and testing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODE_MODULES = Path(__file__).parent / "node_modules"
FLAGS = 9
COMPONENT = 2
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Concept:
    """One thing that artists draw: its label, the words people add, and its part of the split."""

    label: str
    slug: str
    captions: tuple[str, ...]
    split: str


def slug(name: str) -> str:
    """``Cat Face`` and ``cat-face`` to ``catface``: artists spell one label in several ways."""
    return "".join(character for character in name.lower() if character.isascii() and character.isalnum())


def label_to_split(label: str) -> str:
    """75 % train, 8 % validation, 17 % test, by a hash of the concept's label alone: the same everywhere."""
    place = int.from_bytes(hashlib.sha256(f"compact:{label}".encode()).digest()[:4], "big") % 100
    return "test" if place < 17 else "validation" if place < 25 else "train"


def read_json(*parts: str) -> Any:
    """A JSON file under node_modules."""
    return json.loads(NODE_MODULES.joinpath(*parts).read_text(encoding="utf-8"))


def read_concepts() -> list[Concept]:
    """Every emoji but country flags and skin-tone components, in emojibase's order."""
    emojilib = read_json("emojilib", "dist", "emoji-en-US.json")
    concepts = []
    for entry in read_json("emojibase-data", "en", "data.json"):
        label, group = entry["label"], entry.get("group")
        if group is None or group in (FLAGS, COMPONENT):
            continue
        words = list(
            dict.fromkeys([*entry.get("tags", []), *(w.replace("_", " ") for w in emojilib.get(entry["emoji"], []))])
        )
        words = [word for word in words if word.isascii() and word.lower() != label.lower()]
        captions = [label, f"a picture of {label}", f"{label}, {', '.join(words[:4])}"]
        captions += [" ".join(words[i : i + 3]) for i in range(0, min(len(words), 9), 3)]
        captions += [f"a drawing of a {word}" for word in words[:3]]
        concepts.append(Concept(label, slug(label), tuple(c for c in captions if c.strip()), label_to_split(label)))
    return concepts
