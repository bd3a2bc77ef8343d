"""The descriptive fields of a model, checked before they are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.errors import InvalidInput
from engine.numbers import checked_whole, shown
from engine.texts import is_line, is_storable, nearest, quoted

TEXT_LIMITS = {"kind": 64, "description": 100_000, "author": 255, "license": 255, "base_model": 255}
DETAILS = (*TEXT_LIMITS, "tags", "links", "resolution", "metadata")
NAME_LIMIT = 255
MOST_TAGS, MOST_LINKS = 256, 64
TAG_LIMIT, LINK_NAME_LIMIT, LINK_LIMIT = 255, 255, 2048
"""Characters of a tag, of a link's name and of its address."""
DEEPEST = 32
"""Lists and mappings within one another: what is deeper cannot be written as JSON everywhere."""
MOST_BYTES = 64 * 1024
"""Of a model's metadata as JSON in UTF-8: listings read them all."""
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of a NUL character in JSON."""


def checked_name(name: Any) -> str:
    """A model's name: 1 to 255 characters of one line (``engine.texts.is_line``), without white space at its ends.

    Raises:
        InvalidInput: it is anything else.
    """
    if not isinstance(name, str) or not name or name != name.strip() or not is_line(name):
        raise InvalidInput(
            f"{shown(name)} is not a model name",
            hint="a name is printable text without line breaks or white space at its ends",
        )
    if len(name) > NAME_LIMIT:
        raise InvalidInput(f"the name {name[:40]!r}… has {len(name)} characters, {NAME_LIMIT} are allowed")
    return name


def checked_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as they will be stored.

    Raises:
        InvalidInput: an unknown field, a wrong type, or a text that is too long.
    """
    result: dict[str, Any] = {}
    if "licence" in details:
        if "license" in details:
            raise InvalidInput("give 'license' or 'licence', not both")
        details = {"license" if key == "licence" else key: value for key, value in details.items()}
    for key, value in details.items():
        if key in TEXT_LIMITS:
            result[key] = _text(key, value)
        elif key == "tags":
            result[key] = _tags(value)
        elif key == "resolution":
            result[key] = None if value is None else checked_whole(value, "resolution", 1)
        elif key == "links":
            result[key] = _links(value)
        elif key == "metadata":
            result[key] = checked_json(key, value, most_bytes=MOST_BYTES)
        else:
            hint = nearest(str(key), (*DETAILS, "name"), f"fields are {', '.join(DETAILS)}; others go into metadata")
            raise InvalidInput(f"a model has no field {quoted(key, 80)}", hint=hint)
    return result


def _text(key: str, value: Any) -> str | None:
    if value is None and key != "kind":
        return None
    if not isinstance(value, str) or (key == "kind" and not value.strip()):
        raise InvalidInput(f"{key} must be text, got {quoted(value)}")
    if not is_storable(value):
        raise InvalidInput(f"{key} must not have NUL characters or lone surrogates, got {value!r:.80}")
    if len(value) > TEXT_LIMITS[key]:
        raise InvalidInput(f"{key} may have up to {TEXT_LIMITS[key]} characters, got {len(value)}")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise InvalidInput(f"tags must be a list of texts, got {quoted(value)}")
    for tag in values:
        if not isinstance(tag, str) or len(tag) > TAG_LIMIT or not tag.strip() or not is_line(tag):
            raise InvalidInput(
                f"{quoted(tag)} is not a tag; tags are printable texts of up to {TAG_LIMIT} characters"
            )  # fmt: skip
    found = {tag.strip() for tag in values}
    if len(found) > MOST_TAGS:
        raise InvalidInput(f"a model may have up to {MOST_TAGS} tags, got {len(found)}", hint="keep the telling ones")
    return tuple(sorted(found))


def _links(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and not all(isinstance(link, str) for link in value.values()):
        raise InvalidInput(f"links must map names to addresses, got {quoted(value)}")
    if isinstance(value, Mapping) and len(value) > MOST_LINKS:
        raise InvalidInput(f"a model may have up to {MOST_LINKS} links, got {len(value)}")
    found = checked_json("links", value)
    for name, link in found.items():
        if len(name) > LINK_NAME_LIMIT or len(link) > LINK_LIMIT:
            raise InvalidInput(
                f"the link {quoted(name, 80)} has a name of {len(name)} and an address of {len(link)} characters, "
                f"{LINK_NAME_LIMIT} and {LINK_LIMIT} are allowed"
            )
    return found


def checked_json(key: str, value: Any, *, most_bytes: int | None = None) -> dict[str, Any]:
    """A mapping as it will be stored and come back.

    Raises:
        InvalidInput: it is none, its keys are not texts, it is not JSON, has a NUL character or a lone surrogate, is
            nested more than ``DEEPEST`` deep, or has more than ``most_bytes``.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"{key} must be a mapping with text keys, got {quoted(value)}")
    _check_depth(key, value)
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
        if not is_storable(text) or NUL.search(text):
            raise ValueError("a text in it has a NUL character or a lone surrogate")
        found = dict(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{key} must be JSON: {error}") from error
    size = len(text.encode())
    if most_bytes is not None and size > most_bytes:
        raise InvalidInput(
            f"{key} may have up to {most_bytes:,} bytes as JSON, got {size:,}", hint="keep it elsewhere, and link to it"
        )
    return found


def _check_depth(key: str, value: Any) -> None:
    """Level by level: what calls itself for each level would end where it should tell."""
    level = [value]
    for _ in range(DEEPEST):
        level = list({id(inner): inner for one in level for inner in _within(one)}.values())
        if not level:
            return
    raise InvalidInput(f"{key} may be nested {DEEPEST} deep, and is deeper", hint="make it flatter")


def _within(value: Any) -> list[Any]:
    """The lists and mappings in one."""
    values = value.values() if isinstance(value, Mapping) else value
    return [one for one in values if isinstance(one, (Mapping, list, tuple))]
