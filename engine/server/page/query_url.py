"""What a page's address asks: the query in the URL, so that it can be shared and gone back to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from engine.errors import InvalidQuery
from engine.filters import values_to_text
from engine.search.queries import HEAVIEST, LIGHTEST
from engine.search.rules import MODALITIES
from engine.server.page.pictures import NAME
from engine.texts import quoted

STEP = 12
"""Cards at first, and more at each step."""
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""What a chip offers; an address may hold any other."""
LONGEST = 4096
"""Characters of a value in an address: the page repeats it several times."""
WORD = re.compile(r"""(?<!\S)("[^"]*")|(?<!\S)([-!]?[a-z][\w.~-]+!?):("(?:\\.|[^"\\])*"|(?!//)\S+)\s*""", re.IGNORECASE)
"""Words in quotes, which no filter is looked for in, or a filter: a key, a colon, and a text, perhaps in quotes."""


@dataclass(frozen=True)
class Chip:
    """A word that filters: how it was typed, and the filter's pair, see ``engine.filters``."""

    typed: str
    key: str
    value: str


@dataclass(frozen=True)
class Asked:
    """A query as the address has it.

    ``words`` is what stands in the bar, filters left out; ``image`` and ``sketch`` are pictures kept by the server.
    """

    words: str = ""
    chips: tuple[Chip, ...] = ()
    image: str | None = None
    sketch: str | None = None
    model: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    method: str = "auto"
    count: int = STEP

    @property
    def parts(self) -> list[str]:
        """Modalities that are asked, in order."""
        given = {"text": self.words or None, "image": self.image, "sketch": self.sketch, "model": self.model}
        return [modality for modality in MODALITIES if given[modality] is not None]

    @property
    def where(self) -> list[tuple[str, str]] | None:
        """The filter, or None."""
        return [(chip.key, chip.value) for chip in self.chips] or None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return not self.parts and not self.chips

    @property
    def bar(self) -> str:
        """What would be typed to ask it, pictures and model left out."""
        return " ".join(filter(None, [self.words, *(chip.typed for chip in self.chips)]))

    def url(self) -> str:
        """The address, without its host."""
        pairs: list[tuple[str, Any]] = [("q", self.bar)] if self.bar else []
        pairs += [(part, getattr(self, part)) for part in MODALITIES[1:] if getattr(self, part) is not None]
        pairs += [(f"w.{part}", f"{weight:g}") for part, weight in self.weights.items() if weight != 1]
        pairs += [("method", self.method)] if self.method != "auto" else []
        pairs += [("n", self.count)] if self.count != STEP else []
        return f"/?{urlencode(pairs)}" if pairs else "/"

    def without(self, part: str) -> Asked:
        """The same query but for one part."""
        weights = {name: weight for name, weight in self.weights.items() if name != part}
        left = replace(self, weights=weights, count=STEP)
        gone: dict[str, Any] = {"words": ""} if part == "text" else {part: None}
        return replace(left, **gone)

    def without_chip(self, chip: Chip) -> Asked:
        """The same query but for one filter."""
        return replace(self, chips=tuple(one for one in self.chips if one != chip), count=STEP)

    def with_model(self, name: str) -> Asked:
        """The query with a model in it."""
        return replace(self, model=name, count=STEP)

    def more(self) -> Asked:
        """The query for the next cards as well."""
        return replace(self, count=self.count + STEP)


def to_chip(key: str, value: str) -> Chip:
    """The filter for models that have a value."""
    text = values_to_text([value])
    quoted = text.replace('"', '\\"')
    return Chip(f'{key}:"{quoted}"' if re.search(r'[\s"]', text) else f"{key}:{text}", key, text)


def typed_to_words(typed: str) -> tuple[str, tuple[Chip, ...]]:
    """What is typed in the bar to the words to search for and the filters: ``a bird tag:animal author:"Ada L"``."""
    chips: dict[str, Chip] = {}

    def take(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[0]
        value = match[3]
        if value.startswith('"') and value.endswith('"'):
            value = re.sub(r"\\(.)", lambda pair: '"' if pair[1] == '"' else pair[0], value[1:-1])
        else:
            value = value.removeprefix('"')  # one that is not closed yet
        if value:
            chips[match[0].strip()] = Chip(match[0].strip(), match[2], value)
        return ""

    words = " ".join(WORD.sub(take, typed.replace("\0", " ")).split())
    return words, tuple(chips.values())


def pairs_to_asked(pairs: Sequence[tuple[str, str]]) -> Asked:
    """The query of an address; what it does not know is left aside.

    Raises:
        InvalidQuery: a count or a weight that is none, a picture's name that is none, or what is too long.
    """
    given = {key: value.strip() for key, value in pairs if value.strip()}
    for key, value in given.items():
        if len(value) > LONGEST:
            raise InvalidQuery(f"{quoted(key, 40)} may have up to {LONGEST} characters, got {len(value)}")
    words, chips = typed_to_words(given.get("q", ""))
    for part in ("image", "sketch"):
        if part in given and not NAME.fullmatch(given[part]):
            raise InvalidQuery(f"{given[part]!r:.60} is not the name of a kept picture", hint="drop the picture again")
    weights = {part: _number(given[f"w.{part}"], part) for part in MODALITIES if f"w.{part}" in given}
    asked = Asked(
        words, chips, given.get("image"), given.get("sketch"), given.get("model"),
        method=given.get("method", "auto"), count=_count(given.get("n")),
    )  # fmt: skip
    return replace(asked, weights={part: weight for part, weight in weights.items() if part in asked.parts})


def _number(text: str, part: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not LIGHTEST <= weight <= HEAVIEST:
        raise InvalidQuery(
            f"the weight of {part} must be a number above 0, from {LIGHTEST:g} to {HEAVIEST:g}, got {text!r:.40}"
        )
    return weight


def _count(text: str | None) -> int:
    if text is None:
        return STEP
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= 10**6:
        raise InvalidQuery(f"n must be a whole number, at least 1, got {text!r:.40}")
    return int(text)
